"""What must happen to a usage record, rule by rule."""

from array import array

import pytest
from aiokafka import ConsumerRecord
from tests.support.usage import TIME_MS, event, record

from tollgate.schemas.instants import format_instant
from tollgate.schemas.partitions import partition_of
from tollgate.verification.letters import Told
from tollgate.verification.recount import Candidate, Forwarded, Judge, Refused, Unread, Verdict

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def judge(*records: ConsumerRecord) -> list[Verdict]:
    # With one partition every user is at home.
    one = Judge(0, 1)
    return [one.judge(r) for r in records]


def held(*records: ConsumerRecord) -> int:
    last = judge(*records)[-1]
    assert isinstance(last, Candidate)
    return last.held


def test_five_minutes_ahead_of_the_broker_are_allowed_and_a_millisecond_more_is_not() -> None:
    assert isinstance(judge(record(event(), timestamp=TIME_MS - 300_000))[0], Candidate)
    assert judge(record(event(), timestamp=TIME_MS - 300_001)) == [Refused("future")]


def test_events_are_too_old_where_a_dead_letter_says_so_and_they_are_over_a_day_old() -> None:
    old = event(time="2026-11-20T10:00:00Z")

    def at(offset: int, *letters: int, later_ms: int = 1) -> Verdict:
        return Judge(0, 1, Told(too_old=array("q", letters))).judge(record(old, offset, timestamp=TIME_MS + later_ms))

    assert at(7, 3, 7, 9) == Refused("too_old")
    assert isinstance(at(8, 3, 7, 9), Candidate)
    assert isinstance(at(10, 3, 7, 9), Candidate)
    assert isinstance(at(7), Candidate)
    # No setting refuses an event of a day.
    assert isinstance(at(7, 7, later_ms=0), Candidate)


def test_a_record_that_was_put_aside_is_refused_whatever_is_in_it() -> None:
    one = Judge(0, 1, Told(poison=array("q", [3, 5])))
    found = [one.judge(record(event(str(offset)), offset)) for offset in range(2, 7)]
    assert [type(verdict) for verdict in found] == [Candidate, Refused, Candidate, Refused, Candidate]
    assert found[1] == Refused("poison")


def test_a_batch_that_was_refused_as_a_whole_has_one_letter_at_its_end() -> None:
    one = Judge(0, 1, Told(unread=[(2, 4), (8, 8)]))
    found = [one.judge(record(event(str(offset)), offset)) for offset in range(10)]
    unread = {offset: verdict.is_last for offset, verdict in enumerate(found) if isinstance(verdict, Unread)}
    assert unread == {2: False, 3: False, 4: True, 8: True}


def test_a_clock_that_is_far_ahead_is_not_believed() -> None:
    # As of 100 days later, hours and days of today would be held no more.
    ahead = record(event("e1"), 0, timestamp=TIME_MS + 100 * DAY_MS)
    one = Judge(0, 1, clock_ms_max=TIME_MS + HOUR_MS)
    assert one.stamp_ms(ahead) == TIME_MS + HOUR_MS
    for verdict in (one.judge(ahead), one.judge(record(event("e2"), 1))):
        assert isinstance(verdict, Candidate)
        assert verdict.held == 4


def test_a_record_of_another_partitions_user_is_forwarded_once() -> None:
    away = next(user for user in map("u{}".format, range(100)) if partition_of(user.encode(), 8) == 5)
    one = Judge(0, 8)
    assert one.judge(record(event(user=away))) == Forwarded(5)
    again = one.judge(record(event(user=away), 1, headers=(("tollgate-forwarded-from", b"3:7"),)))
    assert again == Refused("misrouted")


def test_what_is_no_usage_event_is_refused_with_the_decoders_reason() -> None:
    assert judge(record(None), record(b"{", 1)) == [Refused("null_value"), Refused("not_json")]


# November 2026 less 25 months is October 2024; 21 November less 62 days is 20 September.
@pytest.mark.parametrize(
    ("late_ms", "windows"),
    [
        (72 * HOUR_MS, 4),
        (73 * HOUR_MS, 3),
        (62 * DAY_MS + 10 * HOUR_MS, 3),
        (62 * DAY_MS + 11 * HOUR_MS, 2),
        (TIME_MS - 1_727_740_800_000, 2),
        (TIME_MS - 1_727_740_799_000, 1),
    ],
)
def test_a_late_event_is_counted_in_the_windows_that_are_still_held(late_ms: int, windows: int) -> None:
    # The clock stands at 2026-11-21T10:59:59.999Z when the event arrives.
    now_ms = TIME_MS + HOUR_MS - 1
    assert held(record(event(time=format_instant(TIME_MS - late_ms)), timestamp=now_ms)) == windows


def test_the_clock_never_runs_backwards() -> None:
    early = record(event("e2", time=format_instant(TIME_MS - 72 * HOUR_MS)), 1, timestamp=TIME_MS - HOUR_MS)
    assert held(record(event("e1"), timestamp=TIME_MS + HOUR_MS), early) == 3
