"""First decisions by a form are, byte by byte, those of `decide`; where there may be more to say, nothing is said."""

import random
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget, positions
from tollgate.domain.decisions import decide
from tollgate.domain.reservations import Reserved
from tollgate.domain.spend import Spend
from tollgate.domain.windows import Horizon, windows_at
from tollgate.ledger import sweep
from tollgate.ledger.forms import Form, Forms
from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.ledger.scope_table import ScopeTable
from tollgate.ledger.scopes import SWEPT_MAX, Scopes
from tollgate.ledger.sweep import OBJECTS_MAX
from tollgate.schemas.amounts import NANO, PICO
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.topics import Topic

NOW = parse_instant("2026-11-21T10:20:00.123Z")
# The compiled core fills in names that JSON writes as they are; Python does where one is not.
PLAIN = ("u1", "é", "100 %", "%b", "%(a)s", "budget", "1000", "a/b|c", "{}", "\u2028", "x" * 250)
NAMES = ("u1", 'q"uote', "back\\slash", "é", "100 %", "%b", "%(a)s", "budget", "1000", "a/b|c", "{}", "\u2028")
IDS = ("default", 'a "b"', "\\u0001", "x\\u0003", "%d", "é", "1" + 39 * "0", "user")
_encode = msgspec.json.Encoder().encode


def budget_of(rnd: random.Random, number: int) -> Budget:
    unit = rnd.choice(("usd", "events", "images"))
    thresholds = {
        level: {"percent": percent, "action": rnd.choice(("alert", "downgrade", "block", "stop"))}
        for level, percent in (("warning", "50"), ("critical", "100"), ("emergency", "120.5"))
        if rnd.random() < 0.6
    }
    window, zone = rnd.choice(
        (("hour", "UTC"), ("day", "UTC"), ("month", "UTC"), ("lifetime", "UTC"), ("week", "Asia/Tokyo"))
    )
    record = {
        "id": rnd.choice(IDS) + str(number),
        "scope": rnd.choice(("user/*", "user/*", "user/u1", "org/*")),
        "limit": rnd.choice(("1", "3", "0.5" if unit == "usd" else "5")),
        "unit": unit,
        "window": window,
        "timezone": zone,
        "except": rnd.choice(([], ["feature/x%y"])),
        "thresholds": thresholds or {"critical": {"percent": "100", "action": "block"}},
        "updated_at": "2026-11-01T00:00:00Z",
    }
    made = Budget.from_record(BudgetRecord.model_validate(record))
    if rnd.random() < 0.2:
        made = replace(made, plan="free")
    return replace(made, valid_to_ms=NOW + 5) if rnd.random() < 0.1 else made


def table_of(rnd: random.Random, names: Sequence[str]) -> ScopeTable:
    """Scopes that are busy, idle, idle with closed windows, and ahead of the present."""
    table = ScopeTable(busy_max=4)
    scopes = Scopes(0, Topic.USER_STATE, Horizon(), BudgetBook())
    scopes.spend = table
    for name in names:
        for at_ms in sorted(rnd.choices((NOW - 10**9, NOW - 4 * 10**6, NOW, NOW, NOW, NOW + 3 * 10**6), k=2)):
            cost = rnd.randrange(4) * PICO + rnd.randrange(2) if rnd.random() < 0.95 else 10**20
            amount = Spend(cost, 0, rnd.randrange(1, 4), {"images": rnd.randrange(4 * NANO)})
            scopes.add(f"user/{name}", windows_at(at_ms - at_ms % 900_000), amount)
            if rnd.random() < 0.5:
                scopes.write(Outbox(), 1, NOW)
    scopes.write(Outbox(), 1, NOW)
    return table


def test_a_form_says_what_was_decided_and_nothing_where_more_is_reached(rnd: random.Random) -> None:
    written = put_off = 0
    for _ in range(200):
        book = BudgetBook([budget_of(rnd, number) for number in range(rnd.randrange(1, 4))])
        names = rnd.choice((NAMES, PLAIN))
        table = table_of(rnd, names)
        scopes = [f"user/{name}" for name in names if book.covers(f"user/{name}")]
        outbox, wanted = Outbox(), Outbox()
        decided, left = Forms(3, Topic.USER_STATE, table).write(scopes, book, NOW, outbox)
        rows = {
            scope: (row, first.due_ms) for first in decided for scope, row in zip(first.scopes, first.rows, strict=True)
        }
        for scope in scopes:
            spend = table.find(scope)
            found = positions(book.for_scope(scope), spend, NOW)
            decision = decide(scope, found, spend, None, NOW)
            if scope in left:
                assert scope not in rows
                continue
            assert (scope in rows) is decision.changed
            if not decision.changed:
                assert decision.due_ms is None
                continue
            row = _encode(decision.standing)
            assert rows[scope] == (row, decision.due_ms)
            assert decision.flag is not None
            wanted.to(Topic.USER_STATE, 3).append((f"d|{scope}".encode(), row, NO_HEADERS))
            wanted.to(Topic.FLAGS, 3).append((scope.encode(), _encode(decision.flag), NO_HEADERS))
            for alert in decision.alerts:
                wanted.to(Topic.ALERTS, 0).append((alert.key.encode(), _encode(alert), NO_HEADERS))
        # Those of different limits stand one after another.
        assert {to: sorted(records) for to, records in outbox.records.items()} == {
            to: sorted(records) for to, records in wanted.records.items()
        }
        written, put_off = written + len(rows), put_off + len(left)
    assert written > 100
    assert put_off > 100


def form_of(limit: str, unit: str) -> Form:
    """What is written about users who have reached 0.01 % of this limit."""
    record = {
        "id": "b",
        "scope": "user/*",
        "limit": limit,
        "unit": unit,
        "window": "day",
        "thresholds": {"warning": {"percent": "0.01", "action": "alert"}},
        "updated_at": "2026-11-01T00:00:00Z",
    }
    (reached,) = positions([Budget.from_record(BudgetRecord.model_validate(record))], None, NOW)
    return Form(replace(reached, threshold=reached.budget.thresholds[0]), NOW)


# The compiled core fills in the first names, Python the others.
@pytest.mark.parametrize("names", [["u1", "u2", "u3"], ["u1", 'q"uote', "back\\slash"]])
@pytest.mark.parametrize(("unit", "one"), [("usd", PICO), ("images", NANO)])
def test_a_form_writes_numbers_as_they_are_shown(names: list[str], unit: str, one: int) -> None:
    scopes = [f"user/{name}" for name in names]
    filled = form_of("2000", unit).fill(scopes, [one, 10 * one + 1, 12_345_678 * one // 1_000])
    assert filled.names == [scope.encode() for scope in scopes]
    for texts in (filled.flags, filled.alerts):
        told = [msgspec.json.decode(text) for text in texts]
        assert [record["scope"] for record in told] == scopes
        assert [record["percent"] for record in told] == ["0.05", "0.50", "617.28"]
        least = "10.000000000001" if unit == "usd" else "10.000000001"
        assert [record["spent"] for record in told] == ["1", least, "12345.678"]


@pytest.mark.parametrize("name", ["u1", 'q"uote'])
@pytest.mark.parametrize(
    ("value", "spent"),
    [
        (9 * 10**18, "9000000"),
        (2**63 - 1, "9223372.036854775807"),
        (2**63, "9223372.036854775808"),
        (10**26, "100000000000000"),
    ],
)
def test_a_form_writes_numbers_of_any_size(name: str, value: int, spent: str) -> None:
    filled = form_of("0.000000000001", "usd").fill([f"user/{name}"], [value])
    told = msgspec.json.decode(filled.flags[0])
    assert (told["spent"], told["percent"]) == (spent, f"{value * 100}.00")


def default(limit: str, window: str = "month") -> Budget:
    record = {
        "id": f"{window}ly",
        "scope": "user/*",
        "limit": limit,
        "window": window,
        "updated_at": "2026-11-01T00:00:00Z",
    }
    return Budget.from_record(BudgetRecord.model_validate(record))


def swept(users: int, reserved: frozenset[str] = frozenset()) -> Scopes:
    """Scopes of users who have spent a dollar each, before a default budget of half a dollar is set."""
    held = {scope: Reserved(PICO // 4, 0, 1) for scope in reserved}
    scopes = Scopes(0, Topic.USER_STATE, Horizon(), BudgetBook(), reserved=lambda scope: held.get(scope, Reserved()))
    for number in range(users):
        scopes.add(f"user/u{number}", windows_at(NOW - NOW % 900_000), Spend(PICO, 0, 1))
    while scopes.has_pending():
        scopes.write(Outbox(), users, NOW)
        scopes.tick(NOW + 10**6)
    scopes.set_budgets(BudgetBook([default("0.5")]))
    return scopes


def flags_of(outbox: Outbox) -> dict[str, dict[str, str]]:
    return {
        key.decode(): msgspec.json.decode(value)
        for key, value, _ in outbox.records.get((Topic.FLAGS, 0), ())
        if key and value
    }


def test_the_flag_of_a_swept_user_tells_what_is_reserved() -> None:
    scopes, outbox = swept(6, frozenset({"user/u1"})), Outbox()
    scopes.write(outbox, 0, NOW)
    flags = flags_of(outbox)
    assert sorted(flags) == [f"user/u{n}" for n in range(6)]
    assert flags["user/u1"]["reserved"] == "0.25"
    assert "reserved" not in flags["user/u0"]


def test_what_is_spent_between_two_transactions_of_a_sweep_is_in_the_next_one() -> None:
    scopes = swept(3 * OBJECTS_MAX)
    blocked: list[str] = []
    for turn in range(3):
        name = f"user/new{turn}"
        scopes.add(name, windows_at(NOW - NOW % 900_000), Spend(PICO, 0, 1))
        outbox = Outbox()
        scopes.write(outbox, 1, NOW)
        rows = [key for key, _, _ in outbox.records[Topic.USER_STATE, 0]]
        assert f"s|{name}".encode() in rows
        flags = flags_of(outbox)
        assert flags[name]["state"] == "blocked"
        assert len(flags) == OBJECTS_MAX + 1
        blocked += flags
    assert sorted(blocked) == sorted(
        [f"user/u{n}" for n in range(3 * OBJECTS_MAX)] + ["user/new0", "user/new1", "user/new2"]
    )


def test_with_more_patterns_than_are_compared_every_user_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PATTERNS_MAX", 0)
    scopes = Scopes(0, Topic.USER_STATE, Horizon(), BudgetBook())
    # Most are held as bytes.
    scopes.spend._busy_max = 4
    for name in (*(f"user/u{number}" for number in range(10)), "org/o1", "org/o2"):
        scopes.add(name, windows_at(NOW - NOW % 900_000), Spend(PICO, 0, 1))
    scopes.write(Outbox(), 12, NOW)
    scopes.set_budgets(BudgetBook([default("0.5")]))
    outbox = Outbox()
    scopes.write(outbox, 0, NOW)
    assert sorted(flags_of(outbox)) == [f"user/u{number}" for number in range(10)]


def test_users_who_have_reached_two_limits_are_decided_one_by_one_and_some_at_a_time() -> None:
    users = 2 * SWEPT_MAX + 5
    scopes = swept(users)
    scopes.set_budgets(BudgetBook([default("0.5"), default("0.5", "hour")]))
    blocked: list[list[str]] = []
    while scopes.has_pending():
        outbox = Outbox()
        scopes.write(outbox, 0, NOW)
        blocked.append(list(flags_of(outbox)))
    assert [len(names) for names in blocked if names] == [SWEPT_MAX, SWEPT_MAX, 5]
    assert sorted(name for names in blocked for name in names) == sorted(f"user/u{n}" for n in range(users))


def test_a_user_who_was_decided_by_a_form_is_free_when_the_window_has_ended() -> None:
    scopes = swept(5)
    scopes.write(Outbox(), 0, NOW)
    december = parse_instant("2026-12-01T00:00:00Z")
    scopes.tick(december - 1)
    assert not scopes.has_pending()
    scopes.tick(december)
    outbox = Outbox()
    scopes.write(outbox, 0, december)
    assert {name: flag["state"] for name, flag in flags_of(outbox).items()} == {f"user/u{n}": "ok" for n in range(5)}
