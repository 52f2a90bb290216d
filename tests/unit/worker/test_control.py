"""What the worker makes of the control topic's setting `stop`: whatever cannot be read leaves the record in force."""

import json
from typing import Any

import pytest

from tollgate.domain.pricing import load_price_book
from tollgate.domain.stops import Stop
from tollgate.ledger import Policy
from tollgate.runtime.settings import Settings
from tollgate.worker.control import ControlReader

STOP = Stop(True, "ada", "the provider bills twice")
RECORD: dict[str, Any] = {
    "name": "stop",
    "value": {"stopped": True},
    "actor": "ada",
    "reason": "the provider bills twice",
    "version": 3,
    "updated_at": "2026-11-21T10:00:00Z",
}


class Reader:
    """A reader of the control topic that is handed its records."""

    def __init__(self) -> None:
        self._reader = ControlReader(Settings(), load_price_book("default"))

    def take(self, record: dict[str, Any] | bytes | None, key: str = "setting/stop") -> Stop | None:
        """The stop in force after one more record."""
        self._reader._take(key, json.dumps(record).encode() if isinstance(record, dict) else record)
        return self.policy.stop

    @property
    def policy(self) -> Policy:
        """Everything in force."""
        return self._reader._policy()


def test_the_setting_stops_and_its_end_says_who_let_spending_go_on() -> None:
    reader = Reader()
    assert reader.take(RECORD) == STOP
    end = RECORD | {"value": {"stopped": False}, "actor": "bob", "reason": "mended", "version": 4}
    assert reader.take(end) == Stop(False, "bob", "mended")
    assert reader.take(RECORD) == STOP
    assert reader.take(None) is None


BUDGET = {"id": "b", "scope": "user/*", "limit": "10", "updated_at": "2026-11-21T10:00:00Z"}
PRICE = {
    "id": "p", "provider": "openai", "model": "gpt-99", "rates": [{"dimension": "images", "usd": "1"}],
    "effective_from": "2026-11-01T00:00:00Z",
}  # fmt: skip


def test_only_what_changed_is_made_anew() -> None:
    reader = Reader()
    first = reader.policy
    reader.take(RECORD)
    stopped = reader.policy
    assert (stopped.budgets is first.budgets, stopped.new_pricer is first.new_pricer) == (True, True)
    reader.take(BUDGET, "budget/b")
    limited = reader.policy
    assert (next(iter(limited.budgets)).id, limited.new_pricer is first.new_pricer) == ("b", True)
    reader.take(PRICE, "price/p")
    priced = reader.policy
    assert (priced.budgets is limited.budgets, priced.new_pricer is first.new_pricer) == (True, False)
    assert priced.new_pricer() is not priced.new_pricer()
    reader.take(None, "budget/b")
    assert list(reader.policy.budgets) == []


def test_without_a_record_nothing_is_stopped() -> None:
    assert Reader().take(RECORD | {"name": "quiet"}, "setting/quiet") is None


@pytest.mark.parametrize(
    "record",
    [
        b"{",
        b"",
        b"[" * 100_000,
        b"\xff",
        RECORD | {"value": {"stopped": "false"}},
        RECORD | {"value": {"stopped": 0}},
        RECORD | {"value": False},
        RECORD | {"value": {}},
        RECORD | {"value": None},
        RECORD | {"name": "other", "value": {"stopped": False}},
        RECORD | {"value": {"stopped": False}, "actor": "a\nb"},
        RECORD | {"value": {"stopped": False}, "reason": "x" * 5_000},
        {"stopped": False},
    ],
    ids=str,
)
def test_a_record_that_cannot_be_read_leaves_the_stop_in_force(record: dict[str, Any] | bytes) -> None:
    reader = Reader()
    reader.take(RECORD)
    assert reader.take(record) == STOP


def test_other_settings_and_fields_of_a_later_release_are_no_concern_of_the_worker() -> None:
    reader = Reader()
    reader.take(RECORD)
    assert reader.take(RECORD | {"name": "quiet", "value": 7}, "setting/quiet") == STOP
    assert reader.take(None, "setting/quiet") == STOP
    assert reader.take({"name": "stop", "value": {"stopped": False}} | RECORD, "setting/stop2") == STOP
    later = RECORD | {"value": {"stopped": True, "except": ["org/acme"]}, "until": "2027-01-01T00:00:00Z"}
    assert reader.take(later) == STOP


def test_a_record_of_an_older_release_has_neither_actor_nor_reason() -> None:
    record = {"name": "stop", "value": {"stopped": True}, "updated_at": "2026-11-21T10:00:00Z"}
    assert Reader().take(record) == Stop(True)


def limits(reader: Reader, scope: str) -> list[tuple[str, int]]:
    """Ids and limits, in whole units, of what applies to a scope."""
    return [(budget.id, budget.limit // 10**9) for budget in reader.policy.budgets.for_scope(scope)]


VIDEO = "user/u1+feature/video"


def test_plans_and_assignments_are_part_of_the_budgets() -> None:
    reader = Reader()
    assert limits(reader, VIDEO) == []
    first = reader.policy
    reader.take({"plan": "free"}, "assignment/default")
    assert limits(reader, VIDEO) == [("plan/free/video/events", 10)]
    reader.take({"plan": "creator", "timezone": "Asia/Tokyo"}, "assignment/user/u1")
    assert limits(reader, VIDEO) == [("plan/creator/video/events", 100)]
    reader.take({"name": "Creator", "limits": [{"feature": "video", "limit": "7"}]}, "plan/creator")
    assert limits(reader, VIDEO) == [("plan/creator/video/events", 7)]
    changed = reader.policy
    assert (changed.budgets is first.budgets, changed.new_pricer is first.new_pricer) == (False, True)
    assert reader.policy.budgets is changed.budgets
    reader.take(None, "plan/creator")
    assert limits(reader, VIDEO) == [("plan/creator/video/events", 100)]
    reader.take(None, "assignment/user/u1")
    assert limits(reader, VIDEO) == [("plan/free/video/events", 10)]
    reader.take(None, "assignment/default")
    assert limits(reader, VIDEO) == []


def test_a_plan_or_assignment_that_cannot_be_read_leaves_the_one_in_force() -> None:
    reader = Reader()
    reader.take({"plan": "free"}, "assignment/default")
    reader.take({"plan": 7}, "assignment/default")
    reader.take({"plan": "pro", "timezone": "Mars/Olympus"}, "assignment/user/u1")
    reader.take({"name": "Free", "limits": [{"feature": "video", "limit": 7}]}, "plan/free")
    assert limits(reader, VIDEO) == [("plan/free/video/events", 10)]


def test_a_budget_goes_with_its_key_whatever_id_it_has() -> None:
    reader = Reader()
    reader.take(BUDGET, "budget/other")
    assert limits(reader, "user/u1") == [("other", 10_000)]
    reader.take(None, "budget/other")
    assert list(reader.policy.budgets) == []
