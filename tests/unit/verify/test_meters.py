"""What counts in a meter, from which offset on, and whether every meter is there."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.usage import event

from tollgate.schemas.partitions import partition_of
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.verification import meter_sums
from tollgate.verification.meter_sums import Counting, MeterSums
from tollgate.verification.meters import Meter, Meters, compare_meters, meters_of
from tollgate.verification.sums import Sum

NOW_MS = 1_795_255_200_000  # 2026-11-21T10:00:00Z, the month began at:
MONTH_MS = 1_793_491_200_000
NEXT_MS = 1_796_083_200_000
MONTH, NEXT = "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"
BOTH = frozenset((0, 1))


def meter_record(scope: str, calendar: str, partition: int = 0, **given: Any) -> tuple[str, bytes]:
    value = {"meter": f"{scope}|{calendar}", "scope": scope, "calendar": calendar, "partition": partition,
             "from_offset": 0, "window_start": MONTH, "whole_from": NEXT, "filled": False}  # fmt: skip
    return f"{partition}|{scope}|{calendar}", json.dumps(value | given).encode()


def decoded(**changes: Any) -> EventRecord:
    found = decode_usage_event(msgspec.json.encode(event(**changes)))
    assert isinstance(found, EventRecord)
    return found


def counted(directory: Path, meters: Meters, *events: tuple[int, EventRecord], **given: Any) -> dict[str, Sum]:
    """Sums of events by their offsets in partition 0, each at 5 picodollars."""
    made = MeterSums(directory / "meters", 3, meters, 1, 2)
    place: dict[str, Any] = {"partition": 0, "clock_ms": NOW_MS, "by_user": True, "owners": BOTH} | given
    for offset, one in events:
        made.add(one, Counting(offset=offset, **place), 5, 0)
    return {key: amount for bucket in range(3) for key, amount in made.bucket(bucket).items()}


GPT = "user/u1+model/gpt-4o|month|2026-11-01T00:00:00Z"


def test_a_combination_adds_up_the_events_that_have_all_its_names(tmp_path: Path) -> None:
    meters = meters_of(dict([meter_record("user/*+model/gpt-4o", "month")]))
    found = counted(tmp_path, meters, (0, decoded()), (1, decoded(data={"model": "o3"})), (2, decoded()))
    assert found == {GPT: Sum(10, 0, 2, {"input_tokens": 2_000 * 10**9, "output_tokens": 200 * 10**9})}


def test_a_meter_counts_from_its_offset_until_its_past_is_added(tmp_path: Path) -> None:
    before, since = (6, decoded()), (7, decoded())
    scope = "user/u1+model/gpt-4o"
    late = (5, decoded(time="2026-10-31T23:59:59.999Z"))
    for filled, events in ((False, 1), (True, 2)):
        meters = meters_of(dict([meter_record(scope, "month", from_offset=7, filled=filled)]))
        directory = tmp_path / str(filled)
        directory.mkdir()
        found = counted(directory, meters, late, before, since)
        assert {key: amount.events for key, amount in found.items()} == {GPT: events}


def test_a_day_of_25_hours_ends_an_hour_later(tmp_path: Path) -> None:
    # In New York 2026-11-01 lasts from 04:00Z to 05:00Z of the next day.
    meters = meters_of(dict([meter_record("user/u1", "day@America/New_York", window_start="2026-11-01T04:00:00Z")]))
    last, first = decoded(time="2026-11-02T04:59:59.999Z"), decoded(time="2026-11-02T05:00:00Z")
    found = counted(tmp_path, meters, (0, last), (1, first))
    assert {key: amount.events for key, amount in found.items()} == {
        "user/u1|day@America/New_York|2026-11-01T04:00:00Z": 1,
        "user/u1|day@America/New_York|2026-11-02T05:00:00Z": 1,
    }


def test_windows_that_are_no_longer_held_count_nothing(tmp_path: Path) -> None:
    # The clock is in the week of the 16th of November: the eleventh before is not held.
    meters = meters_of(dict([meter_record("user/u1", "week", window_start="2026-08-31T00:00:00Z")]))
    found = counted(
        tmp_path, meters, (0, decoded(time="2026-09-06T23:59:59Z")), (1, decoded(time="2026-09-07T00:00:00Z"))
    )
    assert list(found) == ["user/u1|week|2026-09-07T00:00:00Z"]


def test_each_scope_counts_up_to_the_cut_of_its_owner(tmp_path: Path) -> None:
    records = [meter_record("user/u1", "week"), meter_record("provider/openai+model/gpt-4o", "week")]
    meters = meters_of(dict(records))
    shared = {"by_user": False, "owners": BOTH}
    users = {"by_user": True, "owners": frozenset[int]()}
    for number, (given, scope) in enumerate(((shared, "provider/openai+model/gpt-4o"), (users, "user/u1"))):
        (tmp_path / str(number)).mkdir()
        assert [key.partition("|")[0] for key in counted(tmp_path / str(number), meters, (0, decoded()), **given)] == [
            scope
        ]


def test_what_is_taken_back_was_never_there_and_disks_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter_sums, "_CELLS_MAX", 1)
    made = MeterSums(tmp_path / "m", 3, meters_of(dict([meter_record("user/*+model/gpt-4o", "month")])), 1, 2)
    at = Counting(0, 0, NOW_MS, True, BOTH)
    made.add(decoded(), at, 5, 0)
    made.add(decoded(), at, 5, 0)
    made.add(decoded(), at, 5, 0, sign=-1)
    assert {key: amount.events for n in range(3) for key, amount in made.bucket(n).items()} == {GPT: 1}


def test_credits_are_counted_when_the_call_is_billed(tmp_path: Path) -> None:
    meters = meters_of(dict([meter_record("user/u1", "week")]))
    given = {"usage": {"credits": 7}, "retail_tokens": "2.5"}
    failed = given | {"status": "error"}
    found = counted(
        tmp_path,
        meters,
        (0, decoded(data=given)),
        (1, decoded(data=failed)),
        (2, decoded(data=failed | {"billed": True})),
    )
    (amount,) = found.values()
    assert amount.usage_nano == {"credits": 5 * 10**9}


def test_a_meter_without_its_record_and_a_record_without_its_meter_are_told() -> None:
    needed = {Meter("user/*+model/gpt-4o", "month"), Meter("user/u1", "week")}
    found = meters_of(dict([meter_record("user/*+model/gpt-4o", "month")]))
    assert compare_meters(needed, found, 1).difference == (
        "meter user/u1|week of partition 0: expected counted, found not counted"
    )
    assert compare_meters([Meter("user/*+model/gpt-4o", "month")], found, 1).ok
    # Until its window ends.
    assert compare_meters([], found, 1).ok


def test_a_meter_of_one_user_is_in_their_partition_alone() -> None:
    start = "2026-11-16T00:00:00Z"
    week = [meter_record("user/u1", "week", number, window_start=start) for number in (0, 1)]
    meter, home = Meter("user/u1", "week"), partition_of(b"u1", 2)
    assert compare_meters([meter], meters_of(dict([week[home]])), 2).ok
    assert not compare_meters([meter], meters_of(dict([week[1 - home]])), 2).ok
    assert compare_meters([meter], meters_of(dict(week)), 2).difference.endswith("expected no record, found one")


def test_a_meter_whose_window_is_an_hour_off_is_told() -> None:
    right, wrong = "2026-11-01T04:00:00Z", "2026-11-01T05:00:00Z"
    for start, ok in ((right, True), (wrong, False)):
        found = meters_of(dict([meter_record("user/u1", "day@America/New_York", window_start=start)]))
        assert compare_meters([Meter("user/u1", "day@America/New_York")], found, 1).ok is ok


@pytest.mark.parametrize("wrong", [{"whole_from": None}, {"from_offset": "7"}, {"filled": 1}, {"meter": "x|week"}])
def test_a_record_that_contradicts_itself_is_no_meter(wrong: dict[str, Any]) -> None:
    found = meters_of(dict([meter_record("user/u1", "week", **wrong)]))
    assert (len(found.began), len(found.faults)) == (0, 1)


def test_a_sum_is_incomplete_until_its_past_is_added_or_a_later_window_begins() -> None:
    scope, after_ms = "user/u1+model/gpt-4o", 1_798_761_600_000  # 2027-01-01T00:00:00Z
    for given, start_ms, may_be in (
        ({"from_offset": 7}, MONTH_MS, {True}),
        # The meter may have begun in the last minutes of November.
        ({"from_offset": 7}, NEXT_MS, {True, False}),
        ({"from_offset": 7}, after_ms, {False}),
        ({"from_offset": 7, "filled": True}, MONTH_MS, {False}),
        ({"from_offset": 0, "filled": True}, MONTH_MS, {False}),
    ):
        meters = meters_of(dict([meter_record("user/*+model/gpt-4o", "month", **given)]))
        assert meters.may_be_incomplete(scope, "month", start_ms, (0,)) == may_be
    assert meters.may_be_incomplete(scope, "month", after_ms, (0, 1)) == {True}
