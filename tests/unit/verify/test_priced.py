"""Priced records beside the events they are of."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiokafka import ConsumerRecord
from tests.support.usage import event, record

from tollgate.schemas.control import PriceRecord, RateRecord
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.verification.priced import PricedCheck, PricedPartition, as_expected
from tollgate.verification.prices import Prices


def priced_record(offset: int, source_offset: int, **changes: Any) -> ConsumerRecord:
    value = {"event_id": f"e{source_offset}", "kind": "usage", "source_partition": 0, "source_offset": source_offset}
    return record(msgspec.json.encode(value | changes), offset)


def beside(check: PricedCheck, *records: ConsumerRecord, cut: int = 100) -> PricedPartition:
    async def batches() -> AsyncIterator[list[ConsumerRecord]]:
        for r in records:
            yield [r]

    return PricedPartition(0, batches(), cut, check)


async def matched(offsets: list[int], *records: ConsumerRecord, cut: int = 100) -> tuple[list[int | None], PricedCheck]:
    check = PricedCheck(Prices("default", [], []))
    partition = beside(check, *records, cut=cut)
    await partition.begin(False)
    found = []
    for offset in offsets:
        await partition.fill(offset)
        found.append(partition.of(offset))
    await partition.finish()
    return [priced["source_offset"] if priced is not None else None for priced in found], check


async def test_each_event_meets_its_own_record() -> None:
    found, check = await matched([3, 5], priced_record(0, 3), priced_record(1, 5))
    assert (found, check.ok) == ([3, 5], True)


async def test_an_event_without_a_record_is_seen() -> None:
    assert (await matched([3, 4, 5], priced_record(0, 3), priced_record(1, 5)))[0] == [3, None, 5]


async def test_a_record_of_no_counted_event_is_seen() -> None:
    _, check = await matched([3], priced_record(0, 3), priced_record(1, 7))
    assert check.difference == "usage record 0:7: expected no priced record, found event e7"


@pytest.mark.parametrize("told", [None, "2", "0.5"])
def test_other_credits_than_the_event_burns_are_seen(told: str | None) -> None:
    check = PricedCheck(Prices("default", [PRICE], [PRICE]))
    event = _event(event_id="e3", data={"retail_tokens": "1.50"})
    prices = Prices("default", [PRICE], [PRICE])
    priced = msgspec.json.decode(as_expected(event, prices.today(event), 0, 3))
    assert priced.pop("credits") == "1.5"
    check.compare(event, 0, 3, priced | ({} if told is None else {"credits": told}))
    assert "credits of event e3 at 0:3: expected '1.5'" in check.difference
    assert check.differences == 1


async def test_an_event_priced_twice_is_seen() -> None:
    _, check = await matched([3, 5], priced_record(0, 3), priced_record(1, 3), priced_record(2, 5))
    assert check.differences == 1
    assert "event e3 at 0:3: expected one priced record" in check.difference


async def test_records_of_events_after_the_cut_are_left_alone() -> None:
    found, check = await matched([3], priced_record(0, 3), priced_record(1, 100), cut=100)
    assert (found, check.ok) == ([3], True)


async def test_a_record_that_is_the_expected_one_byte_by_byte_is_taken_as_it_is() -> None:
    check = PricedCheck(Prices("default", [PRICE], [PRICE]))
    event, quote = _event(), Prices("default", [PRICE], [PRICE]).today(_event())
    expected = as_expected(event, quote, 0, 3)
    partition = beside(check, record(expected, 9))
    await partition.begin(False)
    assert not partition.take(as_expected(event, quote, 0, 4), 4)
    assert partition.take(expected, 3)
    # What is taken so is right field by field too.
    assert check.compare(event, 0, 3, msgspec.json.decode(expected)) == (3_500_000_000, 0)
    await partition.finish()
    assert (check.ok, partition.found) == (True, 1)


async def test_events_before_the_first_record_that_is_left_cannot_be_compared() -> None:
    check = PricedCheck(Prices("default", [], []))
    cut_short, whole = beside(check, priced_record(7, 30)), beside(check, priced_record(7, 30))
    await cut_short.begin(True)
    await whole.begin(False)
    assert (cut_short.first, whole.first) == (30, 0)
    empty = beside(check)
    await empty.begin(True)
    assert empty.first == 100


def _event(**changes: Any) -> EventRecord:
    decoded = decode_usage_event(msgspec.json.encode(event(**changes)))
    assert isinstance(decoded, EventRecord)
    return decoded


# Our own price, so that no list price of another day changes these numbers: 2.50 and 10.00 per million.
PRICE = PriceRecord(
    provider="openai",
    model="gpt-4o",
    rates=(
        RateRecord(dimension="input_tokens", usd="2.50", per="1000000"),
        RateRecord(dimension="output_tokens", usd="10", per="1000000"),
    ),
    effective_from="2020-01-01T00:00:00Z",
)
GOOD: dict[str, Any] = {
    "event_id": "e1", "source": "tests", "user": "u1", "time": "2026-11-21T10:00:00Z", "kind": "usage",
    "provider": "openai", "model": "gpt-4o", "status": "success", "usage": {"input_tokens": 1000, "output_tokens": 100},
    "cost_usd": "0.0035", "retail_usd": "0", "price_id": PRICE.id, "price_status": "priced", "version": 1,
}  # fmt: skip


def differences(in_force: list[PriceRecord], remembered: list[PriceRecord], **changes: Any) -> tuple[PricedCheck, int]:
    check = PricedCheck(Prices("default", in_force, remembered))
    cost, _ = check.compare(_event(), 0, 0, GOOD | changes)
    return check, cost


def test_a_right_record_is_recomputed_to_the_same_cost() -> None:
    check, cost = differences([PRICE], [PRICE])
    assert check.ok, check.difference
    assert (cost, check.costs) == (3_500_000_000, 1)


def test_a_wrong_cost_is_a_difference_and_the_right_one_goes_on() -> None:
    check, cost = differences([PRICE], [PRICE], cost_usd="0.003500000001")
    assert "expected 0.0035 USD (retail 0, priced), found 0.003500000001 USD" in check.difference
    assert cost == 3_500_000_000


def test_a_wrong_field_is_a_difference() -> None:
    check, _ = differences([PRICE], [PRICE], user="u2")
    assert check.difference == "user of event e1 at 0:0: expected 'u1', found 'u2'"


def test_a_price_that_was_removed_since_still_holds_for_what_it_priced() -> None:
    check, _ = differences([], [PRICE])
    assert check.ok
    assert check.costs == 1


def test_a_price_that_was_ended_since_still_holds_for_what_it_priced() -> None:
    ended = PRICE.model_copy(update={"effective_to": "2021-01-01T00:00:00Z"})
    check, _ = differences([ended], [ended])
    assert check.ok
    assert check.costs == 1


def test_a_cost_by_a_price_nobody_knows_is_taken_as_recorded_and_told() -> None:
    check, cost = differences([PRICE], [PRICE], price_id="gone@2020-01-01#00000000", cost_usd="1")
    assert (check.ok, check.costs, cost) == (True, 0, 10**12)
    assert check.unknown_prices == {"gone@2020-01-01#00000000": 1}
