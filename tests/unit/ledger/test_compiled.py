"""What the compiled core counts by itself, and what it hands over."""

import itertools
import json
from typing import Any

import pytest
from tests.support.metered import all_of, shape
from tests.support.usage import TIME_MS, event, record

from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.domain.windows import Horizon
from tollgate.ledger._native import Identities, Tally
from tollgate.ledger.compiled import CompiledTally
from tollgate.ledger.core import HandedOver
from tollgate.ledger.fetched import FetchedBatch
from tollgate.ledger.policy import ANY_AGE_MS
from tollgate.schemas.conventions import CONVENTIONS
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import DEDUPE_HORIZON_MS
from tollgate.schemas.usage_codec import EventData, EventRecord, decode_usage_event
from tollgate.schemas.usage_identity import fingerprint
from tollgate.schemas.vocabulary import Dimension, Shape

USER = next(user for user in (f"u{n}" for n in range(100)) if partition_of(user.encode(), 8) == 0)
BOOK = load_price_book("default")


def _at_ten() -> Horizon:
    return Horizon(TIME_MS)


def tally() -> CompiledTally:
    return CompiledTally(0, 8, 300_000, DEDUPE_HORIZON_MS)


def taught(*datas: EventData) -> CompiledTally:
    """A tally that knows the prices of these."""
    made, pricer = tally(), Pricer(BOOK)
    for data in datas:
        made.teach(data, pricer.held(data, TIME_MS))
    return made


GPT = EventData(provider="openai", model="gpt-4o")
KNOWN = [GPT, EventData(provider="anthropic", model="claude-sonnet-4-5")]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"usage": {"input_tokens": 0}},
        {"usage": {"input_tokens": 4, "output_tokens": "3"}},
        {"usage": {"input_tokens": 30, "cached_input_tokens": 10, "output_tokens": 9, "reasoning_tokens": 9}},
        {"usage": {"input_tokens": 30, "output_tokens": 9, "total_tokens": 39, "requests": 1}},
        {"usage": {"prompt_tokens": 30, "completion_tokens": 9, "total_tokens": 39}},
        {"status": "error", "usage": {}},
        {"status": "error", "billed": True},
        {"cost_usd": "0.0125", "model": "unheard-of"},
        {"org": "Straßenbau", "campaign": None, "request_id": ""},
        {"metadata": {"a": "b", "n": 5, "t": True, "f": False, "z": None}},
        {"provider": "anthropic", "model": "claude-sonnet-4-5", "usage": {"input_tokens": 200_001}},
        {"else": "text that nobody knows"},
    ],
)
def test_ordinary_events_never_reach_python(data: dict[str, Any]) -> None:
    made = taught(*KNOWN)
    values = [json.dumps(event(f"e{n}", USER, data=data), ensure_ascii=False).encode() for n in range(3)]
    records = [record(value, n) for n, value in enumerate(values)]
    assert made.count(made.batch(records), 0, _at_ten()) == (3, None)
    assert made.count(made.batch(records), 0, _at_ten()) == (3, None)
    assert (len(made), made.take_counts()) == (3, (3, 0))


OPENAI_USAGE = {
    "prompt_tokens": 30, "cached_tokens": 10, "completion_tokens": 9, "reasoning_tokens": 4, "total_tokens": 39,
    "accepted_prediction_tokens": 0,
}  # fmt: skip
ANTHROPIC_USAGE = {
    "input_tokens": 3, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 5, "output_tokens": 9,
}  # fmt: skip


@pytest.mark.parametrize("convention", [name for name in CONVENTIONS if name != "inclusive"])
def test_what_providers_answer_never_reaches_python(convention: str) -> None:
    usage = ANTHROPIC_USAGE if convention in ("anthropic", "bedrock") else OPENAI_USAGE
    if convention in ("exclusive", "google"):
        usage = {"input_tokens": 30, "cached_input_tokens": 10, "output_tokens": 9, "reasoning_tokens": 4}
    fields = {"provider": "anthropic", "model": "claude-sonnet-4-5", "convention": convention}
    made = taught(EventData(**fields))  # type: ignore[arg-type] # one of the conventions
    value = json.dumps(event("e", USER, data={**fields, "usage": usage})).encode()
    assert made.count(made.batch([record(value)]), 0, _at_ten()) == (1, None)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"data": {"retail_tokens": 5}}, "form"),
        ({"data": {"usage": {"input_tokens": "4.50"}}}, "form"),
        ({"data": {"usage": {"input_tokens": 10**18}}}, "form"),
        ({"data": {"usage": {"Input": 1}}}, "form"),
        ({"data": {"usage": {"input_tokens": 1, "credits": 1}}}, "form"),
        ({"type": "tollgate.other.v1"}, "form"),
        ({"data": {"reservation_id": "r1"}}, "reserved"),
        ({"data": {"more": 5}}, "form"),
        ({"data": {"metadata": {"x": 1.5}}}, "form"),
        ({"data": {"org": "a\nb"}}, "form"),
        ({"data": {"org": "x" * 257}}, "form"),
        ({"time_ms": 5}, "form"),
        ({"time": "2026-11-21T10:05:00.001Z"}, "future"),
        ({"subject": f"{USER}-elsewhere-2"}, "misrouted"),
        ({"data": {"model": "gpt-99"}}, "price"),
        ({"data": {"usage": {"input_tokens": "4.5"}}}, "form"),
        ({"data": {"convention": "nobody"}}, "form"),
        ({"data": {"convention": "exclusive"}}, "price"),
        ({"data": {"usage": {"parsecs": 1}}}, "special"),
        ({"data": {"usage": {"requests": 1}}}, "special"),
        ({"data": {"usage": {"total_tokens": 1}}}, "special"),
        ({"data": {"usage": {"input_tokens": 10, "cached_input_tokens": 30}}}, "special"),
        ({"data": {"usage": {"input_tokens": 10, "input_audio_tokens": 3}}}, "special"),
    ],
)
def test_what_is_not_ordinary_is_handed_over_and_nothing_is_counted(changes: dict[str, Any], why: str) -> None:
    made = taught(*KNOWN)
    good = record(event("e0", USER))
    assert made.count(made.batch([good, record(event("e1", USER, **changes), 1), good]), 0, _at_ten()) == (1, why)
    assert len(made) == 1
    assert len(made.identities) == 1


@pytest.mark.parametrize("name", ["a/b+c", "+model/x", "a%2Bmodel/x", "/%"])
def test_a_name_that_may_need_an_escape_is_handed_over_where_a_combination_has_it(name: str) -> None:
    records = [record(event("e", USER, data={"org": name}))]
    without, other, with_it = (taught(*KNOWN) for _ in range(3))
    other.set_combinations(all_of(shape("user", "model")))
    with_it.set_combinations(all_of(shape("user", "model"), shape("org", "feature")))
    assert without.count(without.batch(records), 0, _at_ten()) == (1, None)
    assert other.count(other.batch(records), 0, _at_ten()) == (1, None)
    assert with_it.count(with_it.batch(records), 0, _at_ten()) == (0, "name")
    assert len(with_it.identities) == 0


def test_the_shapes_of_sums_are_not_changed_while_sums_wait() -> None:
    made = taught(*KNOWN)
    made.count(made.batch([record(event("e", USER))]), 0, _at_ten())
    with pytest.raises(ValueError, match="sums by other shapes wait to be taken"):
        made.set_combinations(all_of(shape("user", "model")))
    assert len(list(made.take_sums())) == 4
    made.set_combinations(all_of(shape("user", "model")))


@pytest.mark.parametrize("shapes", [[["user", "latency_ms"]], [["team"]], [["user", "model"]] * 247])
def test_shapes_that_the_core_does_not_know_or_too_many_are_refused(shapes: list[list[str]]) -> None:
    with pytest.raises(ValueError, match="not the dimensions of a usage event, or too many shapes"):
        tally()._core.set_combinations([(dimensions, [0]) for dimensions in shapes], [])


def test_all_combinations_that_there_are_fit() -> None:
    all_of_them = [Shape(names) for size in (2, 3) for names in itertools.combinations(Dimension, size)]
    assert len(all_of_them) == 36 + 84
    made = taught(*KNOWN)
    made.set_combinations(all_of(*all_of_them))
    names = {name: name for name in ("org", "service", "agent", "campaign", "feature", "product")}
    made.count(made.batch([record(event("e", USER, data=names))]), 0, _at_ten())
    rows = list(made.take_sums())
    assert [position for position, *_ in rows] == list(range(130))
    assert rows[10][1] == f"user/{USER}+org/org"
    assert rows[129][1] == "campaign/campaign+feature/feature+product/product"


def test_a_record_with_headers_and_one_without_value_are_handed_over() -> None:
    made = taught(*KNOWN)
    assert made.count(made.batch([record(event("e", USER), headers=(("a", b"b"),))]), 0, _at_ten()) == (0, "headers")
    assert made.count(made.batch([record(None)]), 0, _at_ten()) == (0, "form")


def test_the_clock_stops_at_the_next_hour_where_limits_change() -> None:
    made, horizon = taught(*KNOWN), _at_ten()
    records = [
        record(event("e0", USER), 0, timestamp=TIME_MS + 3_599_999),
        record(event("e1", USER), 1, timestamp=TIME_MS + 3_600_000),
    ]
    assert made.count(made.batch(records), 0, horizon) == (1, "window")
    assert horizon.clock_ms == TIME_MS + 3_599_999


def test_the_sixty_fifth_dimension_of_a_batch_is_handed_over_and_its_sum_kept() -> None:
    made = taught(EventData(provider="openai", model="gpt-4o"))
    for n in range(64):
        made.add((USER, *[""] * 8, "global"), (0, 4), 1, 0, [(f"d{n}", 1)])
    assert made.count(made.batch([record(event("e", USER))]), 0, _at_ten()) == (0, "dimensions")
    made.add((USER, *[""] * 8, "global"), (0, 4), 1, 0, [("d64", 7)])
    found = [
        (position, spend.usage_nano["d64"]) for position, *_, spend in made.take_sums() if "d64" in spend.usage_nano
    ]
    assert found == [(0, 7), (9, 7)]


@pytest.mark.parametrize("cost", [2**104 - 1, 2**104, 2**127, 10**60])
def test_sums_are_exact_however_large(cost: int) -> None:
    made = tally()
    for _ in range(3):
        made.add((USER, *[""] * 8, "global"), (0, 4), cost, cost, [("images", 2**104)])
    spent = [0, 0, 0]
    for position, _, _, _, spend in made.take_sums():
        if position == 9:
            spent[0] += spend.cost_picousd
            spent[1] += spend.retail_picousd
            spent[2] += spend.usage_nano["images"]
    assert spent == [3 * cost, 3 * cost, 3 * 2**104]


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        # One token is 0.5 picousd: ties go to the even number.
        ({"input_tokens": 1}, "0"),
        ({"input_tokens": 3}, "0.000000000002"),
        ({"input_tokens": 5}, "0.000000000002"),
        ({"input_tokens": 7}, "0.000000000004"),
        # 1.000000001 × 0.5 is above the tie, 0.999999999 below it.
        ({"video_seconds": "1.000000001"}, "0.000000000001"),
        ({"video_seconds": "0.999999999"}, "0"),
        ({"video_seconds": "2.999999999"}, "0.000000000001"),
        # 10 × 0.5 - 6 × 0.5 + 6 × 0.25 = 3.5.
        ({"input_tokens": 10, "cached_input_tokens": 6}, "0.000000000004"),
        # 499,999,999,999,999,999.5.
        ({"input_tokens": 10**18 - 1}, "500000"),
    ],
)
def test_costs_are_rounded_once_half_to_even(usage: dict[str, Any], cost: str) -> None:
    made = tally()
    terms = [
        ("input_tokens", 2, 1, 8, 8, 1),
        ("cached_input_tokens", -1, 2, 16, 16, 1),
        ("video_seconds", 2, 0, 4, 0, 1),
    ]
    made._core.teach(("openai", "gpt-4o", "", ""), [], (0, 10**15), ["half"], "priced", [(0, 4, terms)])
    value = record(event("e", USER, data={"usage": usage}))
    assert made.count(made.batch([value]), 0, _at_ten()) == (1, None)
    ((_, priced, _),) = made.take_priced()
    assert f'"cost_usd":"{cost}"'.encode() in (priced or b"")


@pytest.mark.parametrize("multiplier", [10**29, 2**127 - 1, -(2**127)])
def test_a_cost_past_all_bounds_is_handed_over(multiplier: int) -> None:
    made = tally()
    band = (0, 1, [("video_seconds", multiplier, 0, 4, 0, 1)])
    made._core.teach(("openai", "gpt-4o", "", ""), [], (0, 10**15), ["dear"], "priced", [band])
    for amount in (10**18 - 1, "999999999999999999.999999999"):
        value = record(event("e", USER, data={"usage": {"video_seconds": amount}}))
        assert made.count(made.batch([value]), 0, _at_ten()) == (0, "special")


def test_a_price_past_128_bits_is_left_to_python() -> None:
    with pytest.raises(OverflowError):
        tally()._core.teach(("p", "m", "", ""), [], (0, 1), ["id"], "priced", [(0, 2**127, [])])


def test_digests_and_fingerprints_are_what_they_have_always_been() -> None:
    """As `tests/unit/schemas` has them for the reference: these are stored for weeks."""
    made = taught(*KNOWN)
    value = record(event("e1", USER))
    made.count(made.batch([value]), 0, _at_ten())
    (rows,) = made.take_identities()
    read = decode_usage_event(value.value)
    assert isinstance(read, EventRecord)
    assert rows[16:24] == fingerprint(read).to_bytes(8, "little")
    assert rows.hex() == "28ccba138d9ef33a9cd39c48b71d57faeffe711606a38b63a06b016b"


def test_both_languages_have_the_same_reasons_in_the_same_order() -> None:
    assert Tally.reasons() == [reason.value for reason in HandedOver]


@pytest.mark.parametrize("dimensions", [["user", "latency_ms"], ["user", "team"], ["org"] * 16])
def test_a_core_that_does_not_know_the_dimensions_does_not_start(dimensions: list[str]) -> None:
    with pytest.raises(ValueError, match="not the dimensions of a usage event, or too many"):
        Tally(0, 8, 300_000, Identities(1), "tollgate.usage.v1", dimensions, "global", 3_600_000)


def test_the_core_counts_the_dimensions_that_it_is_given_in_their_order() -> None:
    data = {"model": "gpt-4o", "org": "acme", "agent": "SEO", "cost_usd": "1"}
    tally = Tally(0, 8, 300_000, Identities(1), "tollgate.usage.v1", ["agent", "user", "org"], "all", 3_600_000)
    batch = FetchedBatch.of([record(event("e1", USER, data=data))])
    assert tally.count(batch.core, 0, _at_ten(), ANY_AGE_MS)[:2] == (1, None)
    assert [row[:2] for row in tally.take_sums()] == [(0, "SEO"), (1, USER), (2, "acme"), (3, "all")]
    _, value = tally.take_priced()[0]
    assert b',"status":"success","agent":"SEO","org":"acme"}' in value
