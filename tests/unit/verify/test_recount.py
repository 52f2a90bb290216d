"""What must happen to a usage record, rule by rule, and what counted events add up to."""

from typing import Any

from aiokafka import ConsumerRecord
from tests.support.usage import TIME_MS, event, record

from tollgate.schemas.instants import format_instant
from tollgate.schemas.partitions import partition_of
from tollgate.verification.recount import Outcome, PartitionRecount, Totals, Verdict
from tollgate.verification.sums import Sum

# With one partition every user is at home.
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def judge(*records: ConsumerRecord) -> list[Verdict]:
    recount = PartitionRecount(0, 1)
    return [recount.judge(r) for r in records]


def outcomes(*records: ConsumerRecord) -> list[str]:
    return [v.outcome.value + (f" {v.reason}" if v.reason else "") for v in judge(*records)]


def test_an_event_is_counted_once_however_it_is_written_and_timed() -> None:
    first = event("e1")
    again: dict[str, Any] = dict(reversed(event("e1", time="2026-11-21T09:00:00Z").items()))
    again["data"] = dict(reversed(again["data"].items()))
    assert outcomes(record(first), record(first, 1), record(again, 2)) == ["counted", "duplicate", "duplicate"]


def test_other_data_under_the_same_identity_is_a_conflict() -> None:
    other = event("e1", data={"usage": {"input_tokens": 1001}})
    assert outcomes(record(event("e1")), record(other, 1)) == ["counted", "refused conflict"]


def test_two_sources_may_use_the_same_id() -> None:
    assert outcomes(record(event("e1")), record(event("e1", source="other"), 1)) == ["counted", "counted"]


def test_an_identity_is_remembered_for_35_days_and_not_a_second_longer() -> None:
    at_the_end = record(event("e1"), 1, timestamp=TIME_MS + 35 * DAY_MS)
    after_it = record(event("e1"), 2, timestamp=TIME_MS + 35 * DAY_MS + 1000)
    assert outcomes(record(event("e1")), at_the_end, after_it) == ["counted", "duplicate", "counted"]


def test_five_minutes_ahead_of_the_broker_are_allowed_and_a_millisecond_more_is_not() -> None:
    assert outcomes(record(event(), timestamp=TIME_MS - 300_000)) == ["counted"]
    assert outcomes(record(event(), timestamp=TIME_MS - 300_001)) == ["refused future"]


def test_a_record_of_another_partitions_user_is_forwarded_once() -> None:
    away = next(user for user in map("u{}".format, range(100)) if partition_of(user.encode(), 8) == 5)
    recount = PartitionRecount(0, 8)
    verdict = recount.judge(record(event(user=away)))
    assert (verdict.outcome, verdict.home) == (Outcome.FORWARDED, 5)
    again = recount.judge(record(event(user=away), 1, headers=(("tollgate-forwarded-from", b"3:7"),)))
    assert (again.outcome, again.reason) == (Outcome.REFUSED, "misrouted")


def test_what_is_no_usage_event_is_refused_with_the_decoders_reason() -> None:
    assert outcomes(record(None), record(b"{", 1)) == ["refused null_value", "refused not_json"]


def test_a_late_event_is_counted_in_the_windows_that_are_still_held() -> None:
    def kinds(late_ms: int) -> tuple[str, ...]:
        # The clock stands at 2026-11-21T10:59:59.999Z when the event arrives.
        now_ms = TIME_MS + HOUR_MS - 1
        verdict = judge(record(event(time=format_instant(TIME_MS - late_ms)), timestamp=now_ms))[0]
        return verdict.kinds

    assert kinds(72 * HOUR_MS) == ("lifetime", "month", "day", "hour")
    assert kinds(73 * HOUR_MS) == ("lifetime", "month", "day")
    # 21 November less 62 days is 20 September; 19 September is no longer held.
    assert kinds(62 * DAY_MS + 10 * HOUR_MS) == ("lifetime", "month", "day")
    assert kinds(62 * DAY_MS + 11 * HOUR_MS) == ("lifetime", "month")
    # November 2026 less 25 months is October 2024.
    assert kinds(TIME_MS - 1_727_740_800_000) == ("lifetime", "month")
    assert kinds(TIME_MS - 1_727_740_799_000) == ("lifetime",)


def test_the_clock_never_runs_backwards() -> None:
    early = record(event("e2", time=format_instant(TIME_MS - 72 * HOUR_MS)), 1, timestamp=TIME_MS - HOUR_MS)
    ahead = record(event("e1"), timestamp=TIME_MS + HOUR_MS)
    assert judge(ahead, early)[1].kinds == ("lifetime", "month", "day")


def test_an_event_adds_to_each_of_its_scopes_and_windows() -> None:
    totals = Totals()
    verdict = judge(record(event(data={"agent": "SEO", "usage": {"images": "1.5"}})))[0]
    assert verdict.event is not None
    totals.add(verdict.event, verdict.kinds, 2_000_000_000_000, 7)
    totals.add(verdict.event, ("lifetime",), 1, 0)
    windows = totals.windows()
    assert windows["user/u1|hour|2026-11-21T10:00:00Z"] == Sum(2_000_000_000_000, 7, 1, {"images": 1_500_000_000})
    assert windows["agent/SEO|lifetime|1970-01-01T00:00:00Z"] == Sum(2_000_000_000_001, 7, 2, {"images": 3_000_000_000})
    scopes = {key.partition("|")[0] for key in windows}
    assert scopes == {"global", "user/u1", "provider/openai", "model/gpt-4o", "agent/SEO"}
    assert len(windows) == 5 * 4
    assert totals.user_months["u1", 1_793_491_200_000].events == 2


def test_what_came_later_is_added_to_a_copy() -> None:
    totals, later = Totals(), Totals()
    verdict = judge(record(event()))[0]
    assert verdict.event is not None
    totals.add(verdict.event, ("lifetime",), 5, 0)
    later.add(verdict.event, ("lifetime",), 3, 0)
    low = totals.windows()
    key = "global|lifetime|1970-01-01T00:00:00Z"
    assert later.windows(low)[key].cost_picousd == 8
    assert low[key].cost_picousd == 5
