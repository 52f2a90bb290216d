"""Scopes in the calendars that budgets need: their rows and records, their end, and decisions by them."""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from tests.support.usage import record
from tests.unit.ledger.test_users import policy

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.spend import Spend
from tollgate.domain.windows import DAY_MS, HOUR_MS, Horizon, WindowKey, windows_at
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.scopes import Scopes
from tollgate.ledger.shared_stage import SharedStage, delta_of, in_records
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.topics import Topic

TEN = parse_instant("2026-11-21T10:00:00Z")
TOKYO = "day@Asia/Tokyo"
TOKYO_END = parse_instant("2026-11-21T15:00:00Z")
IN_TOKYO = f"{TOKYO}|2026-11-20T15:00:00Z"


def budget(scope: str, calendar: str, limit: str = "1") -> Budget:
    """A budget that blocks at its limit in dollars."""
    made = BudgetRecord(id=f"b-{calendar}", scope="user/u1", limit=limit, updated_at="2026-11-01T00:00:00Z")
    return dataclasses.replace(Budget.from_record(made), scope=scope, calendar=calendar)


class Kept:
    """Meters that are whole, one for each calendar of the budgets."""

    def __init__(self, book: BudgetBook) -> None:
        self.book = book

    def calendars(self, scope: str) -> tuple[str, ...]:
        return self.book.calendars(scope)

    def is_whole(self, scope: str, window: WindowKey) -> bool:
        return window[0] in self.calendars(scope)


class Ledger:
    """The scopes of a partition, and what was last written under each key."""

    def __init__(self, *budgets: Budget) -> None:
        self._start(budgets)
        self.latest: dict[Topic, dict[str, Any]] = {}
        self._numbers: dict[str, int] = {}

    def _start(self, budgets: Iterable[Budget]) -> None:
        self._kept = Kept(BudgetBook(budgets))
        self.scopes = Scopes(0, Topic.USER_STATE, Horizon(), self._kept.book, meters=self._kept)

    def set_budgets(self, *budgets: Budget) -> None:
        self._kept.book = BudgetBook(budgets)
        self.scopes.set_budgets(self._kept.book)
        self.scopes.compare()

    def add(self, scope: str, at_ms: int, picousd: int, *calendars: str, is_base: bool = True) -> None:
        horizon = self.scopes.horizon
        horizon.advance(at_ms)
        windows = horizon.windows_with(at_ms, calendars) if is_base else horizon.windows_in(at_ms, calendars)
        self.scopes.add(scope, windows, Spend(picousd, 0, 1))

    def write(self, now_ms: int = TEN) -> None:
        self.scopes.tick(now_ms)
        while self.scopes.has_pending():
            outbox = Outbox()
            self._numbers = self.scopes.write(outbox, 1, now_ms)
            for (topic, _), records in outbox.records.items():
                written = self.latest.setdefault(topic, {})
                for key, value, _headers in records:
                    assert key is not None
                    if value is None:
                        written.pop(key.decode(), None)
                    else:
                        written[key.decode()] = json.loads(value)

    def restart(self, *budgets: Budget) -> None:
        self._start(budgets)
        rows = {
            key: json.dumps(row, separators=(",", ":")).encode() for key, row in self.latest[Topic.USER_STATE].items()
        }
        self.scopes.restore(rows, self._numbers)

    def keys(self, topic: Topic, part: str) -> set[str]:
        return {key for key in self.latest.get(topic, {}) if part in key}


def test_the_spend_record_of_a_calendar_names_its_zone() -> None:
    ledger = Ledger(budget("user/u1", TOKYO))
    ledger.add("user/u1", TEN, 7, TOKYO)
    ledger.write()
    assert ledger.latest[Topic.SPEND][f"user/u1|{IN_TOKYO}"] == {
        "scope": "user/u1",
        "window": {
            "kind": "day", "start": "2026-11-20T15:00:00Z", "end": "2026-11-21T15:00:00Z", "timezone": "Asia/Tokyo",
        },
        "spent_usd": "0.000000000007", "retail_usd": "0", "usage": {}, "events": 1,
        "reserved_usd": "0",
        "revenue_usd": "0",
        "updated_at": "2026-11-21T10:00:00Z",
    }  # fmt: skip


def test_closed_windows_of_a_zone_come_back_after_a_restart() -> None:
    ledger = Ledger(budget("user/u1", TOKYO))
    ledger.add("user/u1", TEN, 7, TOKYO)
    ledger.add("user/u1", TOKYO_END, 5, TOKYO)
    ledger.write()
    assert ledger.latest[Topic.USER_STATE]["w|day@Asia/Tokyo|1795186800000|user/u1"] == [1, 7, 0, 1, {}]
    ledger.restart(budget("user/u1", TOKYO))
    ledger.add("user/u1", TEN, 1, TOKYO)
    ledger.write()
    assert ledger.latest[Topic.SPEND][f"user/u1|{IN_TOKYO}"]["spent_usd"] == "0.000000000008"
    assert ledger.latest[Topic.SPEND]["user/u1|day@Asia/Tokyo|2026-11-21T15:00:00Z"]["spent_usd"] == "0.000000000005"


def test_a_calendar_that_no_budget_needs_any_more_goes_with_its_rows_and_records() -> None:
    ledger = Ledger(budget("user/u1", TOKYO), budget("user/u1", "week"))
    ledger.add("user/u1", TEN, 7, TOKYO, "week")
    ledger.add("user/u1", TOKYO_END, 5, TOKYO, "week")
    ledger.write()
    assert len(ledger.keys(Topic.SPEND, TOKYO)) == 2
    ledger.set_budgets(budget("user/u1", "week"))
    ledger.write()
    assert ledger.keys(Topic.SPEND, TOKYO) == ledger.keys(Topic.USER_STATE, TOKYO) == set()
    assert TOKYO not in str(ledger.latest[Topic.USER_STATE]["s|user/u1"])
    assert ledger.latest[Topic.SPEND]["user/u1|week|2026-11-16T00:00:00Z"]["events"] == 2
    assert ledger.latest[Topic.SPEND]["user/u1|lifetime|1970-01-01T00:00:00Z"]["events"] == 2
    assert not ledger.scopes.has_pending()


def test_so_does_one_whose_budget_was_removed_while_no_worker_ran() -> None:
    ledger = Ledger(budget("user/*", TOKYO))
    for user in ("u1", "u2"):
        ledger.add(f"user/{user}", TEN, 7, TOKYO)
    ledger.write()
    ledger.restart(budget("user/u2", TOKYO))
    ledger.write()
    assert ledger.keys(Topic.SPEND, TOKYO) == {f"user/u2|{IN_TOKYO}"}
    assert TOKYO not in str(ledger.latest[Topic.USER_STATE]["s|user/u1"])


def test_of_a_combination_without_a_budget_nothing_stays() -> None:
    scope = "user/u1+model/gpt-4o"
    ledger = Ledger(budget(scope, TOKYO))
    ledger.add(scope, TEN, 7, TOKYO, is_base=False)
    ledger.add(scope, TOKYO_END, 5, TOKYO, is_base=False)
    ledger.write()
    assert ledger.keys(Topic.SPEND, scope) == {f"{scope}|{IN_TOKYO}", f"{scope}|day@Asia/Tokyo|2026-11-21T15:00:00Z"}
    assert list(ledger.latest[Topic.USER_STATE][f"s|{scope}"][1]) == [TOKYO]
    ledger.set_budgets()
    ledger.write()
    assert ledger.keys(Topic.SPEND, scope) == ledger.keys(Topic.USER_STATE, scope) == set()
    assert len(ledger.scopes) == 0


def test_a_calendar_that_comes_without_a_budget_is_counted_and_dropped_after_a_minute_or_two() -> None:
    # The partition that sent it may know of a budget that this one reads a moment later, or not know of its end.
    ledger = Ledger()
    ledger.write(TEN)
    ledger.add("user/u1", TEN, 7, TOKYO)
    ledger.write(TEN + 1)
    assert ledger.keys(Topic.SPEND, TOKYO) == {f"user/u1|{IN_TOKYO}"}
    ledger.write(TEN + 60_000)
    assert ledger.keys(Topic.SPEND, TOKYO) == {f"user/u1|{IN_TOKYO}"}
    ledger.write(TEN + 120_000)
    assert ledger.keys(Topic.SPEND, TOKYO) == set()


def test_a_user_blocked_in_a_day_of_tokyo_is_free_at_its_end_without_an_event() -> None:
    ledger = Ledger(budget("user/u1", TOKYO, "0.000000000005"))
    ledger.add("user/u1", TEN, 5, TOKYO)
    ledger.write(TEN)
    flag = ledger.latest[Topic.FLAGS]["user/u1"]
    assert (flag["state"], flag["until"], flag["window"]["timezone"]) == (
        "blocked",
        "2026-11-21T15:00:00Z",
        "Asia/Tokyo",
    )
    assert list(ledger.latest[Topic.ALERTS]) == [f"budget/b-{TOKYO}|user/u1|{IN_TOKYO}"]
    ledger.write(TOKYO_END - 1)
    assert ledger.latest[Topic.FLAGS]["user/u1"]["state"] == "blocked"
    ledger.write(TOKYO_END)
    assert ledger.latest[Topic.FLAGS]["user/u1"]["state"] == "ok"


def said_by_the_second_stage(*deltas: Any, clock_ms: int = TEN) -> set[str]:
    """The keys of the spend records of the partition that has `global`."""
    stage = SharedStage(1, policy())
    stage.apply([record(value, number) for number, value in enumerate(in_records(clock_ms, list(deltas)))])
    outbox = Outbox()
    stage.write(outbox, clock_ms)
    return {(key or b"").decode() for key, _, _ in outbox.records.get((Topic.SPEND, 1), [])}


def test_a_delta_counts_in_the_base_windows_and_in_its_calendars() -> None:
    assert said_by_the_second_stage(delta_of("org/acme", TEN, 4, Spend(7, 0, 1), (TOKYO, "week"))) == {
        "org/acme|lifetime|1970-01-01T00:00:00Z",
        "org/acme|hour|2026-11-21T10:00:00Z",
        "org/acme|day|2026-11-21T00:00:00Z",
        "org/acme|month|2026-11-01T00:00:00Z",
        f"org/acme|{IN_TOKYO}",
        "org/acme|week|2026-11-16T00:00:00Z",
    }


def test_a_delta_of_a_combination_counts_in_its_calendars_alone() -> None:
    scope = "org/acme+model/gpt-4o"
    assert said_by_the_second_stage(delta_of(scope, TEN, 1, Spend(7, 0, 1), ("month",))) == {
        f"{scope}|month|2026-11-01T00:00:00Z"
    }


def test_a_delta_counts_in_the_windows_that_its_sender_still_held() -> None:
    scope, old = "org/acme+model/gpt-4o", TEN - 64 * DAY_MS
    assert said_by_the_second_stage(delta_of(scope, old, 1, Spend(7, 0, 1), ("day", "month"))) == {
        f"{scope}|month|2026-09-01T00:00:00Z"
    }
    assert said_by_the_second_stage(delta_of(scope, old, 1, Spend(7, 0, 1), ("day",))) == set()


def test_a_late_amount_of_a_scope_with_more_calendars_changes_its_own_windows() -> None:
    ledger = Ledger(budget("user/u1", TOKYO))
    ledger.add("user/u1", TEN, 7, TOKYO)
    late_ms = TEN - 80 * HOUR_MS
    windows = ledger.scopes.horizon.windows_with(late_ms, (TOKYO,))
    assert [calendar for calendar, _ in windows] == ["lifetime", "day", "month", TOKYO]
    ledger.scopes.add("user/u1", windows, Spend(5, 0, 1))
    ledger.write()
    # 2026-11-18T02:00Z is 11:00 of the 18th in Tokyo.
    assert ledger.latest[Topic.SPEND]["user/u1|day@Asia/Tokyo|2026-11-17T15:00:00Z"]["spent_usd"] == "0.000000000005"
    assert ledger.latest[Topic.SPEND][f"user/u1|{IN_TOKYO}"]["spent_usd"] == "0.000000000007"


def test_a_scope_with_the_base_calendars_alone_has_the_row_it_always_had() -> None:
    ledger = Ledger()
    ledger.scopes.add("user/u1", windows_at(TEN), Spend(7, 0, 1))
    ledger.write()
    row = ledger.latest[Topic.USER_STATE]["s|user/u1"]
    assert row == [1, [7, 0, 1, {}], TEN, [7, 0, 1, {}], 1795219200000, [7, 0, 1, {}], 1793491200000, [7, 0, 1, {}]]
