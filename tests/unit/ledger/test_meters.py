"""Which sums beyond the base ones a partition keeps, since when, and when they are whole."""

import pytest

from tollgate.domain.spend import Spend
from tollgate.ledger.meters import Kept, Meter, MeterTable, begin, end, patterns_of, remove_ended
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.own_meters import OwnMeters
from tollgate.ledger.shared_meters import Mark, SharedMeters
from tollgate.schemas.instants import parse_instant as at
from tollgate.schemas.meters import Past
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import Topic

VIDEOS = Meter("user/*+feature/video", "month")
ONE = Meter("user/u1+feature/video", "month")
NOON = at("2026-11-21T12:00:00Z")
NOVEMBER, DECEMBER, JANUARY = (at(f"{month}-01T00:00:00Z") for month in ("2026-11", "2026-12", "2027-01"))


def test_a_scope_matches_itself_and_each_pattern_of_its_names() -> None:
    assert patterns_of("global") == ("global",)
    assert patterns_of("user/u1") == ("user/u1", "user/*")
    assert patterns_of("org/a+model/m") == ("org/a+model/m", "org/a+model/*", "org/*+model/m", "org/*+model/*")


def test_a_meter_begins_with_the_running_window_and_is_whole_from_the_next() -> None:
    kept = Kept.begun("month", 500, NOON)
    assert (kept.from_offset, kept.window_start_ms, kept.whole_from_ms, kept.exact_from_ms) == (
        500,
        NOVEMBER,
        DECEMBER,
        DECEMBER,
    )
    assert not kept.is_filled


def test_minutes_before_its_end_the_next_window_may_have_events_already() -> None:
    assert Kept.begun("month", 500, DECEMBER - 300_001).exact_from_ms == DECEMBER
    assert Kept.begun("month", 500, DECEMBER - 300_000).exact_from_ms == JANUARY


def test_before_the_first_offset_there_is_nothing_to_add() -> None:
    assert Kept.begun("month", 0, NOON).is_filled


def table_of(**meters: tuple[Meter, Kept]) -> MeterTable:
    table = MeterTable()
    for meter, kept in meters.values():
        table.put(meter, kept)
    return table


def test_a_sum_is_whole_when_its_past_was_added_or_its_window_began_later() -> None:
    kept = Kept.begun("month", 500, NOON)
    table = table_of(videos=(VIDEOS, kept))
    scope = "user/u7+feature/video"
    assert not table.is_whole(scope, ("month", NOVEMBER))
    assert table.is_whole(scope, ("month", DECEMBER))
    assert not table.is_whole(scope, ("week", DECEMBER))
    assert not table.is_whole("user/u7+feature/chat", ("month", DECEMBER))
    kept.is_filled = True
    assert table.is_whole(scope, ("month", NOVEMBER))


def test_of_two_meters_of_a_scope_the_older_one_answers_for_its_past() -> None:
    older, newer = Kept.begun("month", 100, NOON), Kept.begun("month", 500, NOON)
    table = table_of(videos=(VIDEOS, newer), one=(ONE, older))
    newer.is_filled = True
    assert not table.is_whole("user/u1+feature/video", ("month", NOVEMBER))
    assert table.is_whole("user/u2+feature/video", ("month", NOVEMBER))


def test_a_narrower_meter_goes_on_with_what_the_wider_one_knows() -> None:
    table = MeterTable()
    assert begin(table, [VIDEOS], 100, NOON) == [VIDEOS]
    assert begin(table, [VIDEOS, ONE], 500, NOON) == [ONE]
    kept = table.get(ONE)
    assert kept is not None
    assert kept.from_offset == 100
    assert kept is not table.get(VIDEOS)


def test_a_meter_that_nobody_needs_is_counted_until_its_window_ends() -> None:
    table = MeterTable()
    begin(table, [VIDEOS], 100, NOON)
    assert end(table, [VIDEOS], NOON) == [VIDEOS]
    scope = "user/u1+feature/video"
    assert table.counts(scope, ("month", NOVEMBER))
    assert not table.counts(scope, ("month", DECEMBER))
    assert remove_ended(table, DECEMBER - 1) == ([], [])
    assert remove_ended(table, DECEMBER) == ([VIDEOS], [])
    assert not table.calendars(scope)


def test_a_meter_that_is_needed_again_goes_on_where_it_was() -> None:
    table = MeterTable()
    begin(table, [VIDEOS], 100, NOON)
    end(table, [VIDEOS], NOON)
    assert begin(table, [VIDEOS], 900, NOON) == [VIDEOS]
    kept = table.get(VIDEOS)
    assert kept is not None
    assert (kept.from_offset, kept.ends_ms) == (100, None)


def test_what_nobody_needs_is_counted_in_the_next_window_too_when_events_of_it_may_have_come() -> None:
    for instant, end_ms in ((DECEMBER - 300_001, DECEMBER), (DECEMBER - 300_000, JANUARY)):
        table = MeterTable()
        begin(table, [VIDEOS], 100, NOON)
        end(table, [VIDEOS], instant)
        assert table.ended(end_ms - 1) == []
        assert table.ended(end_ms) == [VIDEOS]


def test_a_meter_that_is_needed_again_just_before_its_end_begins_again_after_it() -> None:
    meters = OwnMeters(0, 1, Topic.USER_STATE)
    meters.want(frozenset({VIDEOS}), 100, NOON)
    scope = "user/u1+feature/video"
    assert meters.calendars_at(scope, DECEMBER) == ("month",)
    meters.want(frozenset(), 500, NOON)
    meters.want(frozenset({VIDEOS}), 900, DECEMBER - 300_000)
    assert not meters.calendars_at(scope, DECEMBER)
    assert not meters.pass_time(950, DECEMBER - 1)
    assert meters.pass_time(1000, DECEMBER + 1)
    kept = meters.table.get(VIDEOS)
    assert kept is not None
    assert (kept.from_offset, kept.window_start_ms, kept.ends_ms) == (1000, DECEMBER, None)
    assert meters.calendars_at(scope, DECEMBER) == ("month",)


@pytest.mark.parametrize("name", ["u1", "!u1"])
def test_of_meters_that_began_together_the_widest_answers_for_the_past(name: str) -> None:
    narrow = Meter(f"user/{name}+feature/video", "month")
    meters = OwnMeters(0, 1, Topic.USER_STATE)
    meters.want(frozenset({VIDEOS}), 100, NOON)
    rows = [(narrow.scope, NOVEMBER, 5), (narrow.scope, DECEMBER, 7)]
    added = meters.take_past(past(0, 2, rows[0]))
    meters.want(frozenset({VIDEOS, narrow}), 500, NOON)
    added += meters.take_past(past(0, 1, *rows, meter=narrow))
    assert not meters.table.is_whole(narrow.scope, ("month", NOVEMBER))
    added += meters.take_past(past(1, 2, rows[1]))
    assert [spend.cost_picousd for _, _, spend in added] == [5, 7]
    assert meters.table.is_whole(narrow.scope, ("month", NOVEMBER))
    # Its own past was told in one part, of which nothing was added.
    kept = meters.table.get(narrow)
    assert kept is not None
    assert kept.is_filled


@pytest.mark.parametrize(("older", "younger"), [(VIDEOS, ONE), (ONE, VIDEOS)])
def test_a_past_that_comes_after_an_older_meter_has_gone_adds_nothing_to_its_windows(
    older: Meter, younger: Meter
) -> None:
    meters = OwnMeters(0, 1, Topic.USER_STATE)
    late = DECEMBER - 60_000
    meters.want(frozenset({older}), 100, NOON)
    meters.want(frozenset(), 400, NOON)
    meters.want(frozenset({younger}), 500, late)
    assert meters.pass_time(600, DECEMBER)
    rows = [(ONE.scope, NOVEMBER, 5), (ONE.scope, DECEMBER, 7)]
    added = meters.take_past(past(0, 1, *rows, meter=younger, offset=500))
    assert added == [(ONE.scope, ("month", DECEMBER), Spend(7, 0, 1, {"images": 2}))]
    assert meters.is_whole(ONE.scope, ("month", DECEMBER))


def test_a_past_is_added_where_only_a_younger_meter_has_gone() -> None:
    meters = OwnMeters(0, 1, Topic.USER_STATE)
    meters.want(frozenset({ONE}), 100, NOON)
    meters.want(frozenset({ONE, VIDEOS}), 500, NOON)
    meters.want(frozenset({ONE}), 600, NOON)
    assert meters.pass_time(700, DECEMBER)
    assert len(meters.take_past(past(0, 1, (ONE.scope, NOVEMBER, 5), meter=ONE))) == 1


def test_another_calendar_or_other_names_that_have_gone_change_nothing() -> None:
    others = frozenset({Meter(VIDEOS.scope, "week"), Meter("user/*+feature/chat", "month"), Meter("user/u1", "week")})
    meters = OwnMeters(0, 1, Topic.USER_STATE)
    meters.want(others, 100, NOON)
    meters.want(frozenset({VIDEOS}), 500, NOON)
    assert meters.pass_time(700, DECEMBER)
    assert len(meters.table) == 1
    assert len(meters.take_past(past(0, 1, (ONE.scope, NOVEMBER, 5), offset=500))) == 1


def test_windows_before_the_one_in_which_it_began_are_not_counted() -> None:
    meters = OwnMeters(0, 1, Topic.USER_STATE)
    meters.want(frozenset({VIDEOS}), 100, NOON)
    scope = "user/u1+feature/video"
    assert meters.calendars_at(scope, NOVEMBER) == ("month",)
    assert meters.calendars_at(scope, NOVEMBER - 900_000) == ()


def past(part: int, parts: int, *rows: tuple[str, int, int], meter: Meter = VIDEOS, offset: int = 100) -> Past:
    listed = [(scope, start, cost, 0, 1, {"images": 2}) for scope, start, cost in rows]
    return Past(meter=meter.id, from_offset=offset, part=part, parts=parts, rows=listed)


def test_each_part_of_a_past_is_added_once_and_in_order() -> None:
    meters = OwnMeters(0, 1, Topic.USER_STATE)
    meters.want(frozenset({VIDEOS}), 100, NOON)
    first, second = (
        past(0, 2, ("user/u1+feature/video", NOVEMBER, 5)),
        past(1, 2, ("user/u2+feature/video", DECEMBER, 7)),
    )
    assert meters.take_past(second) == []
    assert meters.take_past(first) == [("user/u1+feature/video", ("month", NOVEMBER), Spend(5, 0, 1, {"images": 2}))]
    assert meters.take_past(first) == []
    assert not meters.table.is_whole("user/u1+feature/video", ("month", NOVEMBER))
    assert meters.take_past(second) == [("user/u2+feature/video", ("month", DECEMBER), Spend(7, 0, 1, {"images": 2}))]
    assert meters.table.is_whole("user/u1+feature/video", ("month", NOVEMBER))
    assert meters.take_past(second) == []


@pytest.mark.parametrize(
    "told",
    [
        past(0, 1, ("user/u1+feature/video", NOVEMBER, 5), offset=99),
        past(0, 1, ("user/u1+feature/video", NOVEMBER, 5), meter=ONE),
        past(0, 1, ("user/u1+feature/video", JANUARY, 5)),
        past(0, 1, ("user/u1+feature/chat", NOVEMBER, 5)),
    ],
    ids=["another offset", "another meter", "another window", "another scope"],
)
def test_what_was_not_asked_for_is_not_added(told: Past) -> None:
    meters = OwnMeters(0, 1, Topic.USER_STATE)
    meters.want(frozenset({VIDEOS}), 100, NOON)
    assert meters.take_past(told) == []


def test_the_past_of_a_scope_that_an_older_meter_counts_is_left_to_that_one() -> None:
    meters = OwnMeters(0, 1, Topic.USER_STATE)
    meters.want(frozenset({ONE}), 100, NOON)
    meters.want(frozenset({ONE, VIDEOS}), 500, NOON)
    rows = ("user/u1+feature/video", NOVEMBER, 5), ("user/u2+feature/video", NOVEMBER, 7)
    added = meters.take_past(past(0, 1, *rows, offset=500))
    assert [scope for scope, _, _ in added] == ["user/u2+feature/video"]


def test_what_is_written_is_restored() -> None:
    meters = OwnMeters(0, 1, Topic.USER_STATE)
    meters.want(frozenset({VIDEOS, Meter("org/*", "day@Asia/Tokyo")}), 100, NOON)
    meters.take_past(past(0, 2, ("user/u1+feature/video", NOVEMBER, 5)))
    outbox = Outbox()
    marks = meters.write(outbox)
    assert [mark.meter for mark in marks] == ["org/*|day@Asia/Tokyo"]
    rows = {key.decode(): value for key, value, _ in outbox.records[Topic.USER_STATE, 0] if key and value}
    again = OwnMeters(0, 1, Topic.USER_STATE)
    again.restore(rows)
    again.want(frozenset({VIDEOS, Meter("org/*", "day@Asia/Tokyo")}), 900, NOON)
    assert not again.has_pending()
    assert again.take_past(past(1, 2, ("user/u2+feature/video", NOVEMBER, 7))) != []
    asked = [value for _, value, _ in outbox.records[Topic.METERS, 0]]
    assert b'"from_offset":100,"window_start":"2026-11-01T00:00:00Z","whole_from":"2026-12-01T00:00:00Z"' in (
        asked[-1] or b""
    )


def test_a_user_is_metered_in_their_partition_alone() -> None:
    home = partition_of(b"u1", 8)
    for partition in range(8):
        meters = OwnMeters(partition, 8, Topic.USER_STATE)
        meters.want(frozenset({ONE}), 100, NOON)
        assert len(meters.table) == (partition == home)


def test_a_shared_sum_is_whole_when_every_partition_says_so() -> None:
    meter = Meter("org/*+model/gpt-4o", "month")
    shared = SharedMeters(0, Topic.SHARED_STATE, 2)
    scope, window = "org/acme+model/gpt-4o", ("month", NOVEMBER)
    assert not shared.is_whole(scope, window)
    begun = [Mark(0, meter.id, Kept.begun("month", 100, NOON)), Mark(1, meter.id, Kept.begun("month", 7, NOON))]
    assert shared.take(begun) == ([], False)
    assert shared.is_whole(scope, ("month", DECEMBER))
    filled = Kept.begun("month", 100, NOON)
    filled.is_filled = True
    assert shared.take([Mark(0, meter.id, filled)]) == ([meter.scope], False)
    assert not shared.is_whole(scope, window)
    assert shared.take([Mark(1, meter.id, Kept.begun("month", 0, NOON))]) == ([meter.scope], False)
    assert shared.is_whole(scope, window)
    outbox = Outbox()
    shared.write(outbox)
    again = SharedMeters(0, Topic.SHARED_STATE, 2)
    again.restore({key.decode(): value for key, value, _ in outbox.records[Topic.SHARED_STATE, 0] if key and value})
    assert again.is_whole(scope, window)
