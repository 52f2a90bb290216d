"""A broker's clock that jumps ahead: budgets go on to hold, and an alert says what was seen."""

import json
from typing import Any

import pytest
from tests.support.cores import CORES
from tests.support.usage import TIME_MS, event, record
from tests.unit.ledger.test_users import USER, Bench

from tollgate.domain.windows import DAY_MS, HOUR_MS
from tollgate.ledger.outbox import Outbox
from tollgate.schemas.outputs import Alert
from tollgate.schemas.topics import Topic

BUDGET = {"scope": "user/*", "limit": "5", "window": "day"}
MINUTE_MS = 60_000


@pytest.fixture(autouse=True, params=CORES)
def _core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bench, "core", request.param)


def one_usd(event_id: str) -> dict[str, Any]:
    return event(event_id, USER, data={"cost_usd": "1"})


def flags(outbox: Outbox) -> list[dict[str, Any]]:
    return [json.loads(value or b"") for _, value, _ in outbox.records.get((Topic.FLAGS, 0), [])]


def alerts(outbox: Outbox) -> list[Alert]:
    return [
        Alert.model_validate_json(value or b"")
        for key, value, _ in outbox.records.get((Topic.ALERTS, 0), [])
        if key is not None and key.startswith(b"clock/")
    ]


def test_one_record_from_the_future_does_not_switch_a_budget_off() -> None:
    bench = Bench(BUDGET)
    bench.stage.bound_clock(TIME_MS)
    bench.send(record(one_usd("e0"), timestamp=TIME_MS + 100 * DAY_MS))
    bench.write()
    bench.send(*(one_usd(f"e{n}") for n in range(1, 50)))
    (flag,) = flags(bench.write())
    assert (flag["state"], flag["spent"], flag["window"]["start"]) == ("blocked", "50", "2026-11-21T00:00:00Z")
    assert bench.counters.late == 0


def test_nor_after_a_restart_nor_when_an_older_release_has_kept_such_a_clock() -> None:
    bench = Bench()
    bench.send(record(one_usd("e0"), timestamp=TIME_MS + 100 * DAY_MS))
    bench.write()
    assert bench.numbers is not None
    assert bench.numbers["clock_ms"] == TIME_MS + 100 * DAY_MS
    other = Bench(BUDGET)
    other.stage.bound_clock(TIME_MS)
    other.stage.restore(dict(bench.rows), bench.numbers)
    other.offset = bench.offset
    other.send(*(one_usd(f"e{n}") for n in range(1, 50)))
    assert other.write() is not None
    assert other.counters.late == 0
    assert other.numbers is not None
    assert other.numbers["clock_ms"] == TIME_MS + HOUR_MS


def test_a_retry_stamped_in_the_future_is_still_a_repeat() -> None:
    bench = Bench()
    bench.stage.bound_clock(TIME_MS)
    bench.send(one_usd("e0"), record(one_usd("e0"), timestamp=TIME_MS + 100 * DAY_MS), one_usd("e0"))
    bench.write()
    assert (bench.counters.counted, bench.counters.duplicates) == (1, 2)


def test_an_alert_says_what_was_seen_and_ends_ten_minutes_later() -> None:
    bench = Bench()
    bench.stage.bound_clock(TIME_MS)
    bench.send(record(one_usd("e0"), timestamp=TIME_MS + 100 * DAY_MS), one_usd("e1"))
    (alert,) = alerts(bench.write())
    assert (alert.key, alert.kind, alert.level) == ("clock/0", "clock", "warning")
    assert "2027-03-01T10:00:00Z" in alert.reason
    bench.send(one_usd("e2"))
    assert alerts(bench.write(TIME_MS + 9 * MINUTE_MS)) == []
    bench = bench.restarted()
    bench.send(one_usd("e3"))
    (ended,) = alerts(bench.write(TIME_MS + 10 * MINUTE_MS))
    assert (ended.key, ended.level, ended.since) == ("clock/0", "resolved", alert.since)
    assert ended.revision > alert.revision
    assert "clock" not in bench.rows


def test_an_hour_ahead_is_believed_and_a_millisecond_more_is_not() -> None:
    for ahead, expected in ((HOUR_MS, []), (HOUR_MS + 1, ["clock/0"])):
        bench = Bench()
        bench.stage.bound_clock(TIME_MS)
        bench.send(record(one_usd("e0"), timestamp=TIME_MS + ahead))
        assert [alert.key for alert in alerts(bench.write())] == expected
        assert bench.numbers is not None
        assert bench.numbers["clock_ms"] == TIME_MS + HOUR_MS
