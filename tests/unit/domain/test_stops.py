"""The company-wide stop by hand: what the flag of `global` and the stop's alert say. Expected values are literals."""

from typing import Any

import pytest
from tests.support.decided import Told, told

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget, positions
from tollgate.domain.decisions import Standing, decide
from tollgate.domain.spend import ScopeSpend, Spend
from tollgate.domain.stops import Stop
from tollgate.domain.windows import windows_at
from tollgate.schemas.amounts import PICO
from tollgate.schemas.control import BudgetRecord, SettingRecord
from tollgate.schemas.instants import parse_instant

TEN = parse_instant("2026-11-21T10:00:00Z")
NOW = parse_instant("2026-11-21T10:30:00Z")
LATER = parse_instant("2026-11-21T10:31:00Z")
STOP = Stop(True, "ada", "the provider bills twice")
GO_ON = Stop(False, "bob", "they have mended it")
FLAG: dict[str, Any] = {
    "scope": "global",
    "state": "stopped",
    "blocked": True,
    "action": "stop",
    "reason": "spending_stopped",
    "budget": None,
    "window": None,
    "limit": None,
    "unit": None,
    "spent": None,
    "percent": None,
    "since": "2026-11-21T10:30:00Z",
    "until": None,
    "revision": 1,
    "note": "ada stopped all spending: the provider bills twice",
}
ALERT: dict[str, Any] = {
    "key": "stop/global",
    "kind": "stop",
    "level": "emergency",
    "scope": "global",
    "state": "stopped",
    "action": "stop",
    "reason": "ada stopped all spending: the provider bills twice",
    "peak_level": "emergency",
    "since": "2026-11-21T10:30:00Z",
    "updated_at": "2026-11-21T10:30:00Z",
    "revision": 1,
}


class Company:
    """The scope `global` with a month's budget in USD; what was decided last stands."""

    def __init__(self, limit: str | None = None, action: str = "stop") -> None:
        thresholds = {"critical": {"percent": "100", "action": action}}
        record = {"scope": "global", "limit": limit, "thresholds": thresholds, "updated_at": "2026-11-01T00:00:00Z"}
        self.book = BudgetBook([Budget.from_record(BudgetRecord.model_validate(record))] if limit else [])
        self.spend: ScopeSpend | None = None
        self.standing: Standing | None = None

    def pay(self, picousd: int) -> None:
        self.spend = self.spend or ScopeSpend()
        self.spend.add(windows_at(TEN), Spend(picousd, 0, 1))

    def look(self, stop: Stop | None, at_ms: int = NOW) -> Told:
        found = positions(self.book.for_scope("global"), self.spend, at_ms)
        decision = decide("global", found, self.spend, self.standing, at_ms, stop)
        self.standing = decision.standing
        return told(decision)


def test_a_stop_needs_neither_spend_nor_a_budget() -> None:
    decision = Company().look(STOP)
    assert (decision.flag, decision.alerts) == (FLAG, [ALERT])
    assert decision.due_ms is None


def test_the_same_stop_again_changes_nothing() -> None:
    company = Company()
    company.look(STOP)
    assert not company.look(STOP, LATER).changed


def test_a_stop_for_another_reason_is_told_anew_and_has_begun_when_it_did() -> None:
    company = Company()
    company.look(STOP)
    decision = company.look(Stop(True, "eve", "and their API is down"), LATER)
    note = "eve stopped all spending: and their API is down"
    assert decision.flag == FLAG | {"note": note, "revision": 2}
    assert decision.alerts == [ALERT | {"reason": note, "revision": 2, "updated_at": "2026-11-21T10:31:00Z"}]


def test_the_end_of_a_stop_without_budgets_is_ok() -> None:
    company = Company()
    company.look(STOP)
    decision = company.look(GO_ON, LATER)
    assert decision.flag == {
        **{name: value for name, value in FLAG.items() if name != "note"},
        "state": "ok",
        "blocked": False,
        "action": None,
        "reason": "within_budget",
        "since": "2026-11-21T10:31:00Z",
        "revision": 2,
    }
    assert decision.alerts == [
        ALERT
        | {
            "level": "resolved",
            "state": "ok",
            "action": None,
            "reason": "bob let spending go on: they have mended it",
            "updated_at": "2026-11-21T10:31:00Z",
            "revision": 2,
        }
    ]
    assert not company.look(GO_ON, LATER).changed


def test_a_setting_that_is_removed_ends_the_stop() -> None:
    company = Company()
    company.look(STOP)
    decision = company.look(None, LATER)
    assert decision.flag is not None
    assert decision.flag["state"] == "ok"
    assert [(a["level"], a["reason"]) for a in decision.alerts] == [("resolved", "the setting was removed")]


@pytest.mark.parametrize("stop", [GO_ON, None])
def test_spending_that_never_stopped_is_not_told(stop: Stop | None) -> None:
    decision = Company().look(stop)
    assert (decision.changed, decision.flag, decision.alerts) == (False, None, [])


def test_the_stop_by_hand_is_shown_before_that_of_a_budget_and_leaves_it_behind() -> None:
    company = Company("100")
    company.pay(104 * PICO)
    by_budget = company.look(None).flag
    assert by_budget is not None
    assert (by_budget["state"], by_budget["budget"], by_budget["spent"]) == ("stopped", "global:month:usd", "104")
    by_hand = company.look(STOP, LATER)
    # It was stopped before, so it has been since then.
    assert by_hand.flag == FLAG | {"revision": 2}
    assert [a["key"] for a in by_hand.alerts] == ["stop/global"]
    # The month's end still ends the budget's alert.
    assert by_hand.due_ms == parse_instant("2026-12-01T00:00:00Z")
    after = company.look(GO_ON, LATER).flag
    assert after == by_budget | {"revision": 3}


def test_the_numbers_of_a_budget_do_not_rewrite_the_flag_of_a_stop() -> None:
    company = Company("100")
    company.look(STOP)
    company.pay(120 * PICO)
    decision = company.look(STOP, LATER)
    assert decision.flag is None
    assert [a["level"] for a in decision.alerts] == ["critical"]


def test_a_stop_over_a_warning_ends_in_the_warning() -> None:
    company = Company("100", action="alert")
    company.pay(100 * PICO)
    company.look(None)
    company.look(STOP)
    flag = company.look(GO_ON, LATER).flag
    assert flag is not None
    assert (flag["state"], flag["percent"], flag["since"]) == ("warning", "100.00", "2026-11-21T10:31:00Z")
    assert "note" not in flag


def test_somebody_without_a_name_or_a_reason_is_told_as_that() -> None:
    assert Stop(True).sentence == "somebody stopped all spending"
    assert Stop(False, reason="all is well").sentence == "somebody let spending go on: all is well"


def setting(**changes: Any) -> SettingRecord:
    record = {"name": "stop", "value": {"stopped": True}, "actor": "ada", "updated_at": "2026-11-21T10:00:00Z"}
    return SettingRecord.model_validate(record | changes)


def test_a_setting_is_compiled_to_a_stop() -> None:
    assert Stop.from_record(setting(reason="why")) == Stop(True, "ada", "why")
    assert Stop.from_record(setting(value={"stopped": False, "until": "later"})) == Stop(False, "ada", "")
