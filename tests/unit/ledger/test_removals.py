"""Records of compacted topics that nobody needs are removed, once, in the transaction that forgets what they are of."""

import json

import pytest

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.spend import Spend
from tollgate.domain.windows import DAY_MS, HOUR_MS, Horizon, windows_at
from tollgate.ledger import resolved
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.scopes import Scopes
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.outputs import AlertKind, AlertLevel, FlagState
from tollgate.schemas.outputs_codec import AlertRecord
from tollgate.schemas.topics import Topic

# 2026-11-21T10:00:00Z
TEN_MS = 1_795_255_200_000
KEY = "budget/b|user/u1|day|2026-11-21T00:00:00Z"


class Bench:
    """The scopes of a partition, what was last written under each key of each topic, and the removals in order."""

    def __init__(self, *budgets: dict[str, str]) -> None:
        book = BudgetBook(
            Budget.from_record(BudgetRecord.model_validate(b | {"updated_at": "2026-11-01T00:00:00Z"})) for b in budgets
        )
        self._book = book
        self.scopes = Scopes(0, Topic.USER_STATE, Horizon(), book)
        self.latest: dict[Topic, dict[str, bytes]] = {Topic.SPEND: {}, Topic.USER_STATE: {}, Topic.ALERTS: {}}
        self.removed: list[tuple[Topic, str]] = []
        self._numbers: dict[str, int] = {}

    def spend(self, at_ms: int, picousd: int = 5, scope: str = "user/u1") -> None:
        self.scopes.horizon.advance(at_ms)
        self.scopes.add(scope, windows_at(at_ms), Spend(picousd, 0, 1))

    def write(self, now_ms: int) -> None:
        self.scopes.tick(now_ms)
        outbox = Outbox()
        self._numbers = self.scopes.write(outbox, 1, now_ms)
        for (topic, _), records in outbox.records.items():
            for key, value, _headers in records:
                assert key is not None
                name = key.decode()
                if topic in self.latest and value is None:
                    assert name in self.latest[topic], f"{name} is removed from {topic} and was not there"
                    self.removed.append((topic, name))
                    del self.latest[topic][name]
                elif topic in self.latest and value is not None:
                    self.latest[topic][name] = value

    def restart(self) -> None:
        self.scopes = Scopes(0, Topic.USER_STATE, Horizon(), self._book)
        self.scopes.restore(dict(self.latest[Topic.USER_STATE]), self._numbers)

    def alert(self) -> str | None:
        value = self.latest[Topic.ALERTS].get(KEY)
        return None if value is None else str(json.loads(value)["level"])


@pytest.mark.parametrize("restarts", [False, True])
def test_the_record_of_an_hour_goes_when_its_72_hours_are_over_and_not_before(restarts: bool) -> None:
    bench = Bench()
    hour = "user/u1|hour|2026-11-21T10:00:00Z"
    for later in (0, 1, 71, 72, 73):
        bench.spend(TEN_MS + later * HOUR_MS)
        if restarts:
            bench.write(TEN_MS)
            bench.restart()
        bench.write(TEN_MS)
        assert (hour in bench.latest[Topic.SPEND]) is (later < 73), later
    assert [key for topic, key in bench.removed if topic is Topic.SPEND] == [hour]
    held = {key.split("|", 1)[1] for key in bench.latest[Topic.SPEND]}
    assert {"lifetime|1970-01-01T00:00:00Z", "day|2026-11-21T00:00:00Z", "month|2026-11-01T00:00:00Z"} <= held


def over(key: str) -> AlertRecord:
    """The end of a stop's alert under this key."""
    return AlertRecord(
        key=key, kind=AlertKind.STOP, level=AlertLevel.RESOLVED, scope="global", state=FlagState.OK, action=None,
        reason="over", peak_level=AlertLevel.EMERGENCY, since="2026-11-21T09:00:00Z", updated_at="2026-11-21T10:00:00Z",
        revision=2,
    )  # fmt: skip


def test_the_records_of_a_scope_stay_bounded_over_four_months_of_hours() -> None:
    bench = Bench()
    for hour in range(120 * 24):
        bench.spend(TEN_MS + hour * HOUR_MS)
        bench.write(TEN_MS)
    kinds = [key.split("|")[1] for key in bench.latest[Topic.SPEND]]
    # 72 hours and 62 days before those that are open, and some that are evicted with the next event.
    assert kinds.count("hour") in range(73, 76)
    assert kinds.count("day") in range(63, 66)
    assert (kinds.count("month"), kinds.count("lifetime")) == (5, 1)


BUDGET = {"id": "b", "scope": "user/u1", "limit": "0.000000000010", "window": "day"}


def test_an_alert_that_is_over_for_30_days_is_removed_once_with_its_row() -> None:
    bench = Bench(BUDGET)
    bench.spend(TEN_MS, 20)
    bench.write(TEN_MS)
    assert bench.alert() == "emergency"
    over_ms = TEN_MS + 14 * HOUR_MS
    bench.write(over_ms)
    assert bench.alert() == "resolved"
    bench.restart()
    for now_ms, level in ((over_ms + 30 * DAY_MS - 1, "resolved"), (over_ms + 30 * DAY_MS, None)):
        bench.write(now_ms)
        assert bench.alert() == level
    bench.write(over_ms + 60 * DAY_MS)
    bench.restart()
    bench.write(over_ms + 90 * DAY_MS)
    assert bench.removed == [(Topic.ALERTS, KEY), (Topic.USER_STATE, f"r|{KEY}")]
    assert not bench.scopes.has_pending()


def test_an_alert_that_fires_again_is_kept_until_30_days_after_its_next_end() -> None:
    bench = Bench(BUDGET)
    bench.spend(TEN_MS, 20)
    bench.write(TEN_MS)
    bench.scopes.set_budgets(BudgetBook())
    bench.write(TEN_MS + 1)
    assert bench.alert() == "resolved"
    again = Bench(BUDGET)
    bench.scopes.set_budgets(again._book)
    bench.write(TEN_MS + 2)
    assert bench.alert() == "emergency"
    assert f"r|{KEY}" not in bench.latest[Topic.USER_STATE]
    over_ms = TEN_MS + 14 * HOUR_MS
    bench.write(over_ms)
    bench.write(TEN_MS + 30 * DAY_MS + 1)
    assert bench.alert() == "resolved"
    bench.write(over_ms + 30 * DAY_MS)
    assert bench.alert() is None


def test_past_so_many_the_alerts_that_are_over_longest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolved, "KEPT_MAX", 2)
    alerts, outbox = resolved.ResolvedAlerts(0, Topic.USER_STATE), Outbox()
    for number in range(4):
        alerts.note(over(f"k{number}"), outbox, TEN_MS + number)
    alerts.tick(TEN_MS + 5)
    assert alerts.has_pending()
    alerts.write(outbox, TEN_MS + 5)
    assert [key for key, _, _ in outbox.records[Topic.ALERTS, 0]] == [b"k0", b"k1"]
    assert not alerts.has_pending()
