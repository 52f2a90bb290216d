"""The scopes of a partition after a restart: whole, in the order that a further crash relies on, and no larger."""

import json

import pytest

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.spend import Spend
from tollgate.domain.windows import DAY_MS, HOUR_MS, Horizon, windows_at
from tollgate.ledger import spend_queue
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.scopes import FIRST_MAX, Scopes
from tollgate.ledger.spend_queue import RECORDS_MIN
from tollgate.ledger.spend_records import sequence_of, with_sequence, without_sequence
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.topics import Topic

# 2026-11-21T10:00:00Z
TEN_MS = 1_795_255_200_000
HOUR_KEY = b"w|hour|1795255200000|user/u1"


def new_scopes(*budgets: dict[str, str]) -> Scopes:
    book = BudgetBook(
        Budget.from_record(BudgetRecord.model_validate(b | {"updated_at": "2026-11-01T00:00:00Z"})) for b in budgets
    )
    return Scopes(0, Topic.USER_STATE, Horizon(), book)


class Log:
    """The state topic after compaction, and everything said about spend."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.numbers: dict[str, int] = {}
        self.deleted: list[bytes] = []

    def write(self, scopes: Scopes, now_ms: int = TEN_MS) -> Outbox:
        outbox = Outbox()
        self.numbers = scopes.write(outbox, 1, now_ms)
        for key, value, _ in outbox.records.get((Topic.USER_STATE, 0), []):
            assert key is not None
            if value is None:
                self.rows.pop(key.decode(), None)
                self.deleted.append(key)
            else:
                self.rows[key.decode()] = value
        return outbox

    def restored(self, *budgets: dict[str, str]) -> Scopes:
        scopes = new_scopes(*budgets)
        scopes.restore(dict(self.rows), self.numbers)
        return scopes


def said(outbox: Outbox) -> list[str]:
    return [key.decode() for key, _, _ in outbox.records.get((Topic.SPEND, 0), []) if key is not None]


def test_a_row_is_numbered_and_brought_back() -> None:
    assert with_sequence(5, b"[1,0,1,{}]") == b"[5,1,0,1,{}]"
    assert sequence_of(b"[5,1,0,1,{}]") == 5
    assert without_sequence(b"[12345,1,0,1,{}]") == b"[1,0,1,{}]"


def test_open_and_closed_windows_come_back_and_go_on() -> None:
    scopes, log = new_scopes(), Log()
    for hour in (0, 1):
        scopes.add("user/u1", windows_at(TEN_MS + hour * HOUR_MS), Spend(5, 0, 1, {"images": 10**9}))
    log.write(scopes)
    assert log.rows[HOUR_KEY.decode()] == b'[1,5,0,1,{"images":1000000000}]'
    scopes = log.restored()
    scopes.add("user/u1", windows_at(TEN_MS), Spend(2, 0, 1))
    outbox = log.write(scopes)
    assert log.rows[HOUR_KEY.decode()] == b'[2,7,0,2,{"images":1000000000}]'
    values = {
        k.decode(): json.loads(v) for k, v, _ in outbox.records[Topic.SPEND, 0] if k is not None and v is not None
    }
    assert values["user/u1|hour|2026-11-21T10:00:00Z"]["spent_usd"] == "0.000000000007"
    assert values["user/u1|lifetime|1970-01-01T00:00:00Z"]["events"] == 3


def test_a_second_crash_loses_no_spend_record_whatever_the_order_of_rows_in_the_log() -> None:
    scopes, log = new_scopes(), Log()
    # Their rows stand first in the log, and are the last to change; meanwhile the crowd keeps readers waiting.
    first = [f"user/f{n}" for n in range(150)]
    crowd = [f"user/c{n}" for n in range(300)]
    told: list[str] = []
    for changed in (first, crowd, first):
        for scope in changed:
            scopes.add(scope, windows_at(TEN_MS), Spend(1, 0, 1))
        told += said(log.write(scopes))
    assert len(told) == 3 * RECORDS_MIN
    told += said(log.write(log.restored()))
    scopes = log.restored()
    while scopes.has_pending():
        told += said(log.write(scopes))
    assert {f"{scope}|lifetime|1970-01-01T00:00:00Z" for scope in (*first, *crowd)} <= set(told)


def test_what_was_not_said_is_read_a_few_scopes_at_a_time_through_any_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spend_queue, "READ_AT_ONCE", 7)
    monkeypatch.setattr(spend_queue, "RECORDS_MIN", 12)
    scopes, log = new_scopes(), Log()
    latest: dict[str, int] = {}

    def write(scopes: Scopes) -> None:
        for key, value, _ in log.write(scopes).records.get((Topic.SPEND, 0), []):
            latest[(key or b"").decode()] = json.loads(value or b"")["events"]

    for first in range(0, 60, 6):
        for number in range(first, first + 6):
            scopes.add(f"user/u{number}", windows_at(TEN_MS), Spend(1, 0, 1))
        write(scopes)
    assert len(latest) < 200
    for number in range(12):
        # A crash after one to five transactions, of which four have said what was read at first; and each time somebody
        # is spent in whose record is still to come.
        scopes = log.restored()
        scopes.add(f"user/u{59 - number}", windows_at(TEN_MS), Spend(1, 0, 1))
        for _ in range(1 + number % 5):
            write(scopes)
    while scopes.has_pending():
        write(scopes)
    lifetime = {f"user/u{n}|lifetime|1970-01-01T00:00:00Z": 2 if n >= 48 else 1 for n in range(60)}
    assert {key: latest.get(key) for key in lifetime} == lifetime
    assert log.numbers["said"] == log.numbers["sequence"]


def test_rows_of_windows_past_the_horizon_are_left_out_and_deleted() -> None:
    scopes, log = new_scopes(), Log()
    for hour in (0, 1):
        scopes.add("user/u1", windows_at(TEN_MS + hour * HOUR_MS), Spend(5, 0, 1))
    log.write(scopes)
    scopes.horizon.advance(TEN_MS + 72 * HOUR_MS)
    scopes.add("user/u2", windows_at(TEN_MS + 72 * HOUR_MS), Spend(5, 0, 1))
    log.write(scopes)
    log.write(log.restored())
    assert log.deleted == []
    scopes.horizon.advance(TEN_MS + 73 * HOUR_MS)
    scopes.add("user/u2", windows_at(TEN_MS + 73 * HOUR_MS), Spend(5, 0, 1))
    log.write(scopes)
    restored = log.restored()
    assert restored.has_pending()
    log.write(restored)
    assert log.deleted == [HOUR_KEY]
    assert not restored.has_pending()
    assert HOUR_KEY.decode() not in log.rows


def test_a_closed_window_past_the_horizon_that_readers_have_not_seen_is_said_first() -> None:
    scopes, log = new_scopes(), Log()
    for n in range(RECORDS_MIN):
        scopes.add(f"user/c{n}", windows_at(TEN_MS), Spend(1, 0, 1))
    scopes.add("user/u1", windows_at(TEN_MS), Spend(5, 0, 1))
    scopes.add("user/u1", windows_at(TEN_MS + HOUR_MS), Spend(5, 0, 1))
    scopes.horizon.advance(TEN_MS + 30 * DAY_MS)
    told = said(log.write(scopes))
    restored = log.restored()
    while restored.has_pending():
        told += said(log.write(restored))
    assert "user/u1|hour|2026-11-21T10:00:00Z" in told


def test_a_pattern_budget_reaches_every_restored_scope_and_those_in_use_first() -> None:
    scopes, log = new_scopes(), Log()
    users = 2 * FIRST_MAX + 5
    for n in range(users):
        scopes.add(f"user/u{n}", windows_at(TEN_MS), Spend(10**12, 0, 1))
    while scopes.has_pending():
        log.write(scopes)
    scopes = log.restored({"scope": "user/*", "limit": "0.5", "window": "month"})
    scopes.add("user/u7", windows_at(TEN_MS), Spend(1, 0, 1))
    blocked: list[str] = []
    steps = 0
    while scopes.has_pending():
        flags = [k.decode() for k, _, _ in log.write(scopes).records.get((Topic.FLAGS, 0), []) if k is not None]
        blocked += flags
        steps += 1
        assert len(flags) <= FIRST_MAX + 1
        assert "user/u7" in blocked
        assert scopes.spend.busy <= 1
    assert sorted(blocked) == sorted(f"user/u{n}" for n in range(users))


def test_a_removed_budget_frees_its_scope_after_a_restart() -> None:
    scopes, log = new_scopes({"scope": "user/u1", "limit": "0.5", "window": "month"}), Log()
    scopes.add("user/u1", windows_at(TEN_MS), Spend(10**12, 0, 1))
    (_, flag, _) = log.write(scopes).records[Topic.FLAGS, 0][0]
    assert json.loads(flag or b"")["state"] == "blocked"
    (_, flag, _) = log.write(log.restored()).records[Topic.FLAGS, 0][0]
    assert json.loads(flag or b"")["state"] == "ok"
