"""When spend records are written: at once after a pause, then the latest sums half a second after the last ones."""

import json

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.spend import Spend
from tollgate.domain.windows import Horizon, windows_at
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.scope_table import ScopeTable
from tollgate.ledger.scopes import Scopes
from tollgate.ledger.spend_queue import RECORDS_MIN, SpendQueue
from tollgate.schemas.topics import Topic

# 2026-11-21T10:00:00Z
TEN_MS = 1_795_255_200_000


class Ledger:
    """One partition's scopes, written at the times that a test says."""

    def __init__(self) -> None:
        self.scopes = Scopes(0, Topic.USER_STATE, Horizon(), BudgetBook(), spend_apart_ms=500)
        self.numbers: dict[str, int] = {}

    def spend(self, *users: str) -> None:
        for user in users:
            self.scopes.add(f"user/{user}", windows_at(TEN_MS), Spend(1, 0, 1))

    def write(self, after_ms: int) -> dict[str, int]:
        """Write a transaction so long after ten; by user how many events their lifetime record now tells."""
        outbox = Outbox()
        self.numbers = self.scopes.write(outbox, 1, TEN_MS + after_ms)
        told = {}
        for key, value, _ in outbox.records.get((Topic.SPEND, 0), []):
            scope, calendar, _ = (key or b"").decode().split("|")
            if calendar == "lifetime":
                told[scope.removeprefix("user/")] = json.loads(value or b"")["events"]
        return told

    @property
    def is_whole(self) -> bool:
        """Whether the offset row says that every record is written."""
        return self.numbers["said"] == self.numbers["sequence"]


def test_the_first_change_is_told_at_once_and_later_ones_when_half_a_second_is_over() -> None:
    ledger = Ledger()
    ledger.spend("ann")
    assert ledger.write(0) == {"ann": 1}
    assert ledger.is_whole
    for after_ms in (50, 100):
        ledger.spend("ann", "bob")
        assert ledger.write(after_ms) == {}
    assert not ledger.is_whole
    assert not ledger.scopes.has_pending()
    ledger.scopes.tick(TEN_MS + 499)
    assert not ledger.scopes.has_pending()
    ledger.scopes.tick(TEN_MS + 500)
    assert ledger.scopes.has_pending()
    assert ledger.write(500) == {"ann": 3, "bob": 2}
    assert ledger.is_whole
    assert not ledger.scopes.has_pending()


def test_a_change_after_a_pause_does_not_wait() -> None:
    ledger = Ledger()
    ledger.spend("ann")
    ledger.write(0)
    ledger.scopes.tick(TEN_MS + 60_000)
    ledger.spend("ann")
    assert ledger.write(60_010) == {"ann": 2}


def test_more_records_than_fit_into_a_transaction_follow_in_the_next_one() -> None:
    ledger = Ledger()
    users = [f"u{number}" for number in range(RECORDS_MIN // 4 + 1)]
    ledger.spend(*users)
    assert len(ledger.write(0)) == RECORDS_MIN // 4
    assert ledger.scopes.has_pending()
    assert ledger.write(1) == {users[-1]: 1}
    assert not ledger.scopes.has_pending()


def test_more_closed_windows_than_fit_do_not_wait_either() -> None:
    queue = SpendQueue(0, ScopeTable(), apart_ms=500)
    for number in range(RECORDS_MIN + 1):
        queue.add_closed(f"user/u{number}", ("hour", TEN_MS), 1)
    queue.write(Outbox(), 1, TEN_MS)
    assert queue.has_pending()
    queue.write(Outbox(), 1, TEN_MS + 1)
    assert not queue.has_pending()


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    ledger = Ledger()
    ledger.spend("ann")
    ledger.write(0)
    ledger.spend("ann")
    ledger.scopes.tick(TEN_MS - 3_600_000)
    assert ledger.write(-3_600_000) == {"ann": 2}


def test_what_waited_when_the_worker_was_killed_is_told_by_the_next_one() -> None:
    ledger = Ledger()
    ledger.spend("ann")
    ledger.write(0)
    ledger.spend("ann", "bob")
    outbox = Outbox()
    numbers = ledger.scopes.write(outbox, 1, TEN_MS + 50)
    rows = {(key or b"").decode(): value or b"" for key, value, _ in outbox.records[Topic.USER_STATE, 0]}
    again = Ledger()
    again.scopes.restore(rows, numbers)
    assert again.scopes.has_pending()
    assert again.write(60) == {"ann": 2, "bob": 1}
