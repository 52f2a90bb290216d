"""Flags and alerts from budgets and spend. Expected numbers are worked out by hand."""

from typing import Any

from tests.support.decided import Told, told

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget, positions
from tollgate.domain.decisions import ALERT_REFRESH_MS, Standing, decide
from tollgate.domain.plans import Assignment, Plans
from tollgate.domain.reservations import Reserved
from tollgate.domain.spend import ScopeSpend, Spend
from tollgate.domain.windows import windows_at
from tollgate.schemas.amounts import PICO
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.vocabulary import WindowKind

NOW = parse_instant("2026-11-21T10:30:00Z")
TEN = parse_instant("2026-11-21T10:00:00Z")
DECEMBER = parse_instant("2026-12-01T00:00:00Z")


def budget(scope: str = "user/u1", limit: str = "100", **changes: Any) -> Budget:
    record = {
        "id": f"{scope}:{changes.get('window', 'month')}:{changes.get('unit', 'usd')}",
        "scope": scope,
        "limit": limit,
        "unit": "usd",
        "window": "month",
        "timezone": "UTC",
        "thresholds": {
            "warning": {"percent": "80", "action": "alert"},
            "critical": {"percent": "100", "action": "block"},
            "emergency": {"percent": "150", "action": "block"},
        },
        "updated_at": "2026-11-01T00:00:00Z",
    }
    return Budget.from_record(BudgetRecord.model_validate(record | changes))


class Ledger:
    """One scope, spending."""

    def __init__(self, *budgets: Budget, scope: str = "user/u1") -> None:
        self.scope = scope
        self.book = BudgetBook(budgets)
        self.spend = ScopeSpend()
        self.standing: Standing | None = None
        self.reserved = Reserved()

    def pay(self, picousd: int, at_ms: int = NOW, events: int = 1) -> Told:
        self.spend.add(windows_at(at_ms), Spend(picousd, 0, events))
        return self.look(at_ms)

    def look(self, at_ms: int = NOW) -> Told:
        found = positions(self.book.for_scope(self.scope), self.spend, at_ms)
        decision = decide(self.scope, found, self.spend, self.standing, at_ms, reserved=self.reserved)
        self.standing = decision.standing
        return told(decision)


def test_nothing_is_said_below_80_percent() -> None:
    decision = Ledger(budget()).pay(80 * PICO - 1)
    assert (decision.flag, decision.alerts, decision.changed) == (None, [], False)


def test_exactly_80_percent_is_a_warning() -> None:
    decision = Ledger(budget()).pay(80 * PICO)
    assert decision.flag is not None
    assert decision.flag["state"] == "warning"
    assert decision.flag["blocked"] is False
    assert decision.flag["percent"] == "80.00"
    assert [a["level"] for a in decision.alerts] == ["warning"]


def test_one_picousd_short_of_the_limit_is_not_blocked_and_never_reads_100_percent() -> None:
    decision = Ledger(budget()).pay(100 * PICO - 1)
    assert decision.flag is not None
    assert (decision.flag["state"], decision.flag["percent"]) == ("warning", "99.99")


def test_a_block_carries_the_numbers_of_the_contract() -> None:
    ledger = Ledger(budget())
    ledger.pay(90 * PICO)
    flag = ledger.pay(14 * PICO + PICO // 5).flag
    assert flag == {
        "scope": "user/u1",
        "state": "blocked",
        "blocked": True,
        "action": "block",
        "reason": "usage_limit_exceeded",
        "budget": "user/u1:month:usd",
        "window": {
            "kind": "month",
            "start": "2026-11-01T00:00:00Z",
            "end": "2026-12-01T00:00:00Z",
            "timezone": "UTC",
        },
        "limit": "100",
        "unit": "usd",
        "spent": "104.2",
        "percent": "104.20",
        "since": format_instant(NOW),
        "until": "2026-12-01T00:00:00Z",
        "revision": 2,
    }


def test_the_alert_rises_through_the_levels_under_one_key() -> None:
    ledger = Ledger(budget())
    alerts = [ledger.pay(cents * PICO // 100).alerts for cents in (8_000, 2_000, 5_000)]
    assert [[a["level"] for a in step] for step in alerts] == [["warning"], ["critical"], ["emergency"]]
    assert {a["key"] for step in alerts for a in step} == {
        "budget/user/u1:month:usd|user/u1|month|2026-11-01T00:00:00Z"
    }
    assert [a["revision"] for step in alerts for a in step] == [1, 2, 3]


def test_fresh_numbers_of_a_firing_alert_wait_five_seconds() -> None:
    ledger = Ledger(budget())
    ledger.pay(80 * PICO)
    soon = ledger.pay(PICO, NOW + ALERT_REFRESH_MS - 1)
    assert soon.alerts == []
    assert soon.due_ms == NOW + ALERT_REFRESH_MS
    later = ledger.look(NOW + ALERT_REFRESH_MS)
    assert [(a["level"], a["spent"]) for a in later.alerts] == [("warning", "81")]


def test_the_first_instant_of_the_next_window_frees_without_an_event() -> None:
    ledger = Ledger(budget())
    ledger.pay(100 * PICO)
    assert ledger.look(DECEMBER - 1).flag is None
    decision = ledger.look(DECEMBER)
    assert decision.flag is not None
    assert (decision.flag["state"], decision.flag["blocked"], decision.flag["until"]) == (
        "ok",
        False,
        "2027-01-01T00:00:00Z",
    )
    assert [(a["level"], a["spent"], a["peak_percent"]) for a in decision.alerts] == [("resolved", "100", "100.00")]


def test_raising_the_limit_unblocks_at_once_and_resolves() -> None:
    ledger = Ledger(budget())
    ledger.pay(100 * PICO)
    ledger.book = BudgetBook([budget(limit="200")])
    decision = ledger.look()
    assert decision.flag is not None
    assert (decision.flag["state"], decision.flag["limit"]) == ("ok", "200")
    assert [a["level"] for a in decision.alerts] == ["resolved"]


def test_an_alert_that_fires_again_is_newer_than_its_end() -> None:
    ledger = Ledger(budget())
    ledger.pay(100 * PICO)
    ledger.book = BudgetBook([budget(limit="200")])
    ledger.look()
    again = ledger.pay(100 * PICO)
    assert [(a["level"], a["revision"]) for a in again.alerts] == [("critical", 3)]


def test_removing_the_budget_unblocks_and_resolves() -> None:
    ledger = Ledger(budget())
    ledger.pay(100 * PICO)
    ledger.book = BudgetBook()
    decision = ledger.look()
    assert decision.flag is not None
    assert (decision.flag["state"], decision.flag["budget"]) == ("ok", None)
    assert [a["level"] for a in decision.alerts] == ["resolved"]


def test_a_budget_on_events_counts_events() -> None:
    ledger = Ledger(budget(limit="3", unit="events"))
    assert ledger.pay(0, events=2).flag is None
    flag = ledger.pay(0).flag
    assert flag is not None
    assert (flag["state"], flag["spent"], flag["unit"]) == ("blocked", "3", "events")


def test_an_exact_budget_replaces_the_pattern_of_the_same_window() -> None:
    ledger = Ledger(budget("user/*", "1"), budget("user/u1", "1000"))
    assert ledger.pay(500 * PICO).flag is None
    other = Ledger(budget("user/*", "1"), budget("user/u1", "1000"), scope="user/u2")
    flag = other.pay(2 * PICO).flag
    assert flag is not None
    assert flag["state"] == "blocked"


def test_of_two_blocks_the_flag_names_the_one_that_lasts_longer() -> None:
    ledger = Ledger(budget(limit="10", window="hour"), budget(limit="10", window="month"))
    flag = ledger.pay(11 * PICO).flag
    assert flag is not None
    assert (flag["budget"], flag["until"]) == ("user/u1:month:usd", "2026-12-01T00:00:00Z")


def test_a_stop_on_global_says_so() -> None:
    stop = {"critical": {"percent": "100", "action": "stop"}}
    ledger = Ledger(budget("global", "500", window="day", thresholds=stop), scope="global")
    flag = ledger.pay(500 * PICO).flag
    assert flag is not None
    assert (flag["state"], flag["reason"], flag["action"]) == ("stopped", "spending_stopped", "stop")


def test_a_budget_set_in_mid_window_counts_what_was_spent_before() -> None:
    ledger = Ledger()
    ledger.pay(30 * PICO)
    ledger.book = BudgetBook([budget(limit="20")])
    flag = ledger.look().flag
    assert flag is not None
    assert (flag["spent"], flag["percent"]) == ("30", "150.00")


def test_a_late_event_of_last_month_does_not_block_this_one() -> None:
    ledger = Ledger(budget(limit="10"))
    late = (w for w in windows_at(parse_instant("2026-10-31T23:00:00Z")) if w[0] is not WindowKind.HOUR)
    ledger.spend.add(tuple(late), Spend(50 * PICO, 0, 1))
    assert ledger.look().flag is None


def test_the_flag_of_a_plan_limit_says_which_limit_of_which_plan_and_what_to_do() -> None:
    scope = "user/u1+feature/video"
    ledger = Ledger(scope=scope)
    ledger.book = BudgetBook((), Plans(default=Assignment("free")))
    assert [ledger.pay(0).flag for _ in range(7)] == [None] * 7
    warning = ledger.pay(0).flag
    assert warning is not None
    assert (warning["state"], "note" in warning) == ("warning", False)
    ledger.pay(0)
    blocked = ledger.pay(0).flag
    assert blocked is not None
    assert {name: blocked[name] for name in ("state", "reason", "budget", "limit", "spent", "unit", "until")} == {
        "state": "blocked",
        "reason": "usage_limit_exceeded",
        "budget": "plan/free/video/events",
        "limit": "10",
        "spent": "10",
        "unit": "events",
        "until": "2026-12-01T00:00:00Z",
    }
    assert blocked["note"] == (
        "10 of 10 video events of the month are used, the limit of plan Free: "
        "change to a larger plan, or wait until 2026-12-01T00:00:00Z"
    )
    ledger.book = BudgetBook((), Plans(assignments={"u1": Assignment("creator")}, default=Assignment("free")))
    freed = ledger.look().flag
    assert freed is not None
    assert (freed["state"], freed["limit"], "note" in freed) == ("ok", "100", False)


def test_that_something_is_reserved_is_told_at_once_and_how_much_every_five_seconds() -> None:
    ledger = Ledger(budget())
    ledger.reserved.add(PICO, 0, 1)
    first = ledger.look().flag
    assert first is not None
    assert (first["state"], first["reserved"], first["revision"]) == ("ok", "1", 1)
    ledger.reserved.add(2 * PICO, 0, 1)
    waiting = ledger.look(NOW + 4_999)
    assert (waiting.flag, waiting.due_ms) == (None, NOW + 5_000)
    second = ledger.look(NOW + 5_000).flag
    assert second is not None
    assert second["reserved"] == "3"
    ledger.reserved.add(-3 * PICO, 0, -2)
    third = ledger.look(NOW + 5_001).flag
    assert third is not None
    assert "reserved" not in third


def test_a_budget_that_ends_before_its_window_blocks_no_longer_than_that() -> None:
    ledger = Ledger(budget(valid_to="2026-11-22T00:00:00Z"))
    flag = ledger.pay(100 * PICO).flag
    assert flag is not None
    assert (flag["state"], flag["until"]) == ("blocked", "2026-11-22T00:00:00Z")
    end = parse_instant("2026-11-22T00:00:00Z")
    assert ledger.look(end - 1).flag is None
    freed = ledger.look(end).flag
    assert freed is not None
    assert freed["state"] == "ok"


def test_of_two_blocks_the_flag_names_the_one_that_lasts_longer_and_not_the_one_of_the_longer_window() -> None:
    # The month's budget ends at noon, when the day has twelve hours left.
    ledger = Ledger(budget(limit="10", valid_to="2026-11-21T12:00:00Z"), budget(limit="10", window="day"))
    flag = ledger.pay(11 * PICO).flag
    assert flag is not None
    assert (flag["budget"], flag["until"]) == ("user/u1:day:usd", "2026-11-22T00:00:00Z")


def test_the_flag_of_a_block_follows_its_end_with_no_event() -> None:
    ledger = Ledger(budget(limit="10", valid_to="2026-11-21T12:00:00Z"))
    ledger.pay(11 * PICO)
    told = []
    for end in ("2026-11-21T12:00:00Z", "2026-11-25T00:00:00Z", None, "2026-11-21T12:00:00Z"):
        ledger.book = BudgetBook([budget(limit="10", valid_to=end)])
        flag = ledger.look().flag
        told.append(flag and (flag["state"], flag["until"]))
    assert told == [
        None,
        ("blocked", "2026-11-25T00:00:00Z"),
        ("blocked", "2026-12-01T00:00:00Z"),
        ("blocked", "2026-11-21T12:00:00Z"),
    ]


def test_windows_that_begin_together_are_told_apart() -> None:
    """A day and a week that begin on the same Monday; two zones in which it is always the same time."""
    monday = parse_instant("2026-11-16T10:00:00Z")
    ledger = Ledger(budget(limit="10", id="b", window="day"))
    ledger.pay(11 * PICO, monday)
    ledger.spend.add((("week", parse_instant("2026-11-16T00:00:00Z")),), Spend(11 * PICO, 0, 1))
    ledger.book = BudgetBook([budget(limit="10", id="b", window="week")])
    flag = ledger.look(monday).flag
    assert flag is not None
    assert (flag["window"]["kind"], flag["until"]) == ("week", "2026-11-23T00:00:00Z")
    assert ledger.look(monday).flag is None
    zones = Ledger()
    start = parse_instant("2026-10-31T15:00:00Z")
    zones.spend.add((("month@Asia/Seoul", start), ("month@Asia/Tokyo", start)), Spend(11 * PICO, 0, 1))
    told = []
    for zone in ("Asia/Tokyo", "Asia/Tokyo", "Asia/Seoul"):
        zones.book = BudgetBook([budget(limit="10", id="b", timezone=zone)])
        found = zones.look().flag
        told.append(found and found["window"]["timezone"])
    assert told == ["Asia/Tokyo", None, "Asia/Seoul"]


def test_the_alert_of_windows_that_are_cut_otherwise_is_another_one_and_the_first_is_resolved() -> None:
    monday = parse_instant("2026-11-16T10:00:00Z")
    ledger = Ledger(budget(limit="10", id="b", window="day"))
    ledger.pay(11 * PICO, monday)
    ledger.spend.add((("week", parse_instant("2026-11-16T00:00:00Z")),), Spend(11 * PICO, 0, 1))
    ledger.book = BudgetBook([budget(limit="10", id="b", window="week")])
    assert [(a["key"], a["level"], a["reason"]) for a in ledger.look(monday).alerts] == [
        ("budget/b|user/u1|day|2026-11-16T00:00:00Z", "resolved", "the budget was removed or replaced"),
        (
            "budget/b|user/u1|week|2026-11-16T00:00:00Z",
            "critical",
            "user/u1 has reached 110.00 % of its week budget of 10 usd",
        ),
    ]
    assert ledger.look(monday).alerts == []


def test_a_flag_that_is_ok_names_no_limit_that_holds_no_more() -> None:
    """A reader with an estimate goes by it: 104 of 200 leaves 96, of 500 it leaves 396, and without a budget any."""
    ledger = Ledger(budget())
    ledger.pay(104 * PICO)
    told = []
    for budgets in ([budget(limit="200")], [budget(limit="200")], [budget(limit="500")], [budget("user/*", "150")], []):
        ledger.book = BudgetBook(budgets)
        flag = ledger.look().flag
        told.append(flag and (flag["state"], flag["budget"], flag["limit"]))
    assert told == [
        ("ok", "user/u1:month:usd", "200"),
        None,
        ("ok", "user/u1:month:usd", "500"),
        ("ok", "user/*:month:usd", "150"),
        ("ok", None, None),
    ]
    assert ledger.pay(PICO).flag is None


def test_by_how_much_a_limit_can_be_exceeded_is_told_at_once_while_the_flag_is_ok() -> None:
    ledger = Ledger(budget(limit="1"))
    ledger.reserved.add(9 * PICO // 10, 0, 1)
    first = ledger.look().flag
    assert first is not None
    assert (first["state"], first["reserved"], first["can_exceed_by"]) == ("ok", "0.9", "0")
    # Usage that nobody had reserved: 0.3 + 0.9 is 0.2 above 1, and 30 % is no warning.
    second = ledger.pay(3 * PICO // 10, NOW + 1).flag
    assert second is not None
    assert (second["state"], second["spent"], second["can_exceed_by"]) == ("ok", "0.3", "0.2")
    assert ledger.look(NOW + 2).flag is None
    ledger.book = BudgetBook([budget(limit="2")])
    third = ledger.look(NOW + 3).flag
    assert third is not None
    assert (third["limit"], third["can_exceed_by"]) == ("2", "0")


def test_a_milder_action_at_a_higher_level_lifts_no_block() -> None:
    levels = {
        "warning": {"percent": "50", "action": "downgrade"},
        "critical": {"percent": "100", "action": "block"},
        "emergency": {"percent": "150", "action": "alert"},
    }
    ledger = Ledger(budget(limit="10", thresholds=levels))
    told = []
    for usd in (5, 5, 5):
        decision = ledger.pay(usd * PICO)
        assert decision.flag is not None
        told.append((decision.flag["state"], decision.flag["action"], [a["level"] for a in decision.alerts]))
    assert told == [
        ("warning", "downgrade", ["warning"]),
        ("blocked", "block", ["critical"]),
        ("blocked", "block", ["emergency"]),
    ]


def test_calls_are_left_alone_that_every_block_leaves_alone() -> None:
    small: dict[str, Any] = {"except": ["provider/groq", "model/small"]}
    chats: dict[str, Any] = {"except": ["provider/groq+feature/chat", "agent/SEO"]}
    day, month = budget(limit="10", window="day", **small), budget(limit="10", **chats)
    ledger = Ledger(day, month)
    flag = ledger.pay(10 * PICO).flag
    assert flag is not None
    assert (flag["budget"], flag["except"]) == (
        month.id,
        ["model/small+agent/SEO", "provider/groq+agent/SEO", "provider/groq+feature/chat"],
    )
    # The day's block is over at midnight, the month's goes on.
    later = ledger.look(parse_instant("2026-11-22T00:00:00Z")).flag
    assert later is not None
    assert (later["budget"], later["except"]) == (month.id, ["provider/groq+feature/chat", "agent/SEO"])


def test_a_block_without_exceptions_leaves_no_call_alone_and_a_warning_says_nothing_about_a_block() -> None:
    excepted: dict[str, Any] = {"except": ["provider/groq"]}
    for others, wanted in (
        ([budget(limit="10", window="day")], None),
        ([budget(limit="12", window="day")], ["provider/groq"]),
    ):
        ledger = Ledger(budget(limit="10", **excepted), *others)
        flag = ledger.pay(11 * PICO).flag
        assert flag is not None
        assert (flag["state"], flag["budget"], flag.get("except")) == ("blocked", "user/u1:month:usd", wanted)
    warned = Ledger(budget(limit="10", **excepted), budget(limit="11", window="day"))
    flag = warned.pay(9 * PICO).flag
    assert flag is not None
    assert (flag["state"], flag["budget"], flag.get("except")) == ("warning", "user/u1:month:usd", None)
