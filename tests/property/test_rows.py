"""The compiled core gives every row back as it came, in the order in which Python would."""

import random

import msgspec
import pytest
from tests.property.test_reached import scope_of_somebody, spend_in

from tollgate.domain.budgets import Budget
from tollgate.domain.spend import PLACES, ScopeSpend, unpack_open_row
from tollgate.ledger._native import Rows as NativeRows
from tollgate.ledger.rows import PythonRows, Rows, StateRows, Walk, new_rows
from tollgate.ledger.scope_table import ScopeTable
from tollgate.ledger.spend_records import sequence_of
from tollgate.schemas.control import BudgetRecord

# Rows that no release writes, or only an older one.
ODD = (
    b"[7]",
    b"[7,{}]",
    b"[7,[1,0,1,{}]]",
    b"[7,[1,0,1,{}],{}]",
    b"[07,[1,0,1,{}]]",
    b"[7, [1,0,1,{}]]",
    b"[7,[1,0,1,{}]] ",
    b"[7,[-1,0,1,{}]]",
    b"[7,[1,0,1,{}],-900000,[1,0,1,{}]]",
    b"[7,[1,0,1,{}],900001,[1,0,1,{}]]",
    b"[7,[1.0,0,1,{}]]",
    b"[7,[%d,0,1,{}]]" % 10**60,
    b"[7,[%d,0,1,{}]]" % (10**37 - 1),
    b'[7,[1,0,1,{"images":%d}]]' % (10**37 - 1),
    b'[7,[1,0,1,{"q\\"uote":1}],0,[1,0,1,{"a":0,"a":1}]]',
    b'[7,[1,0,1,{"\xc3\xa9":1000000000}],{"month":[0,[1,0,1,{}]]}]',
    b'[7,{"month":[0,[1,0,1,{}]],"week":[900000,[1,2,3,{"x":1}]]}]',
    b"[7,[1,0,1,{%b}]]" % b",".join(b'"d%d":1' % number for number in range(300)),
)

_encode = msgspec.json.Encoder().encode


def row_of(rnd: random.Random, scope: str) -> bytes:
    # `sequence_of` reads those that have a comma after the number.
    odd = [row for row in ODD if b"," in row]
    return rnd.choice(odd) if rnd.random() < 0.2 else packed(rnd, spend_in(rnd, scope))


def packed(rnd: random.Random, spend: ScopeSpend) -> bytes:
    row: bytes = _encode(spend.open_row(rnd.randrange(1000)))
    return row


@pytest.mark.parametrize("row", ODD)
def test_an_odd_row_is_given_back_as_it_came(row: bytes) -> None:
    rows = new_rows()
    rows.put("user/u1", row)
    assert rows.get("user/u1") == row
    rows.read("user/u1", row)
    rows.settle()
    assert rows.pop("user/u1") == row


def test_senders_may_invent_dimensions_without_end() -> None:
    rows = new_rows()
    written = {f"user/{number}": b'[7,[1,0,1,{"d%d":1}]]' % number for number in range(6_000)}
    for scope, row in written.items():
        rows.put(scope, row)
    assert {scope: rows.get(scope) for scope in written} == written


def test_both_cores_keep_the_same_rows_at_the_same_places(rnd: random.Random) -> None:
    for _ in range(20):
        both: tuple[Rows, Rows] = (PythonRows(), NativeRows())
        for _ in range(300):
            scope = f"{scope_of_somebody(rnd)}{rnd.randrange(4)}"
            kind = rnd.random()
            row = row_of(rnd, scope)
            for rows in both:
                if kind < 0.5:
                    rows.put(scope, row)
                elif kind < 0.6:
                    rows.read(scope, row)
            if kind >= 0.6:
                assert both[0].pop(scope) == both[1].pop(scope)
            elif rnd.random() < 0.02:
                for rows in both:
                    rows.settle()
            assert both[0].get(scope) == both[1].get(scope)
            assert (scope in both[0]) is (scope in both[1])
        assert len(both[0]) == len(both[1])
        place: int | None = 0
        while place is not None:
            most = rnd.randrange(1, 9)
            names, to = both[0].names(place, most)
            assert both[1].names(place, most) == (names, to)
            by_python, _ = both[0].counting_more(place, most)
            by_core, _ = both[1].counting_more(place, most)
            assert [scope for scope, _ in by_core] == [scope for scope, _ in by_python]
            for scope, more in by_core:
                if more is not None:
                    found = ScopeSpend.from_open_row(unpack_open_row(both[0].get(scope) or b""))
                    assert tuple(more) == found.more_calendars()
            place = to
        assert both[0].has_more() is both[1].has_more()
        assert_written_alike(*both)


def assert_written_alike(one: Rows, other: Rows) -> None:
    """Both give each row that was written later once, the earlier ones first."""
    after: int | None = 500
    met: list[tuple[str, int]] = []
    while after is not None:
        written, to = one.written_after(after, 3)
        assert other.written_after(after, 3) == (written, to)
        assert all(number <= to for _, number in written if to is not None)
        met += written
        after = to
    numbers = {scope: sequence_of(one.get(scope) or b"") for scope in one.names(0, 999)[0]}
    assert dict(met) == {scope: number for scope, number in numbers.items() if number > 500}
    assert len(met) == len(dict(met))


def test_rows_that_this_release_writes_are_packed() -> None:
    """What the memory of a million users rests on. Only of a packed row the core tells the calendars."""
    rows = NativeRows()
    of_a_combination = b'[12,{"month":[1793491200000,[123450000000,0,1,{"input_tokens":1000000000000,"seconds":500}]]}]'
    rows.put("user/u1+feature/video", of_a_combination)
    assert rows.counting_more(0, 1) == ([("user/u1+feature/video", ["month"])], None)
    assert rows.get("user/u1+feature/video") == of_a_combination


def test_rows_of_open_windows_are_held_apart() -> None:
    rows = StateRows()
    rows.take("s|user/u1", b"[1,[1,0,1,{}]]")
    rows.take("s|user/u2", b"[1,[1,0,1,{}]]")
    rows.take("s|user/u1", b"[2,[2,0,2,{}]]")
    rows.take("s|user/u2", None)
    rows.take("o", b"{}")
    rows.take("a", b"x")
    rows.take("a", None)
    assert dict(rows) == {"o": b"{}"}
    assert rows.open_rows.names(0, 10) == (["user/u1"], None)
    assert rows.open_rows.get("user/u1") == b"[2,[2,0,2,{}]]"


def test_a_walk_meets_every_place_once_and_goes_round_when_it_begins_again(rnd: random.Random) -> None:
    for _ in range(200):
        count = rnd.randrange(1, 20)
        walk = Walk()
        assert walk.is_over
        walk.begin()
        met: list[int] = []
        restarted = rnd.random() < 0.7
        restart_at = rnd.randrange(count)
        while not walk.is_over:
            if restarted and len(met) >= restart_at:
                restarted = False
                met = []
                walk.begin()
            place, most = walk.next(rnd.randrange(1, 6))
            seen = list(range(place, min(place + most, count)))
            met += seen
            walk.went(place + most if place + most < count else None)
        assert sorted(met) == list(range(count))


def test_a_walk_that_is_stopped_looks_for_nothing() -> None:
    walk = Walk()
    walk.begin()
    walk.stop()
    assert walk.is_over


def budget_on(calendar: str, unit: str) -> Budget:
    """A budget of this window for every user."""
    record = {
        "id": "b",
        "scope": "user/*",
        "limit": "1",
        "unit": unit,
        "window": calendar,
        "updated_at": "2026-11-01T00:00:00Z",
    }
    return Budget.from_record(BudgetRecord.model_validate(record))


def test_values_are_read_from_rows_as_the_whole_rows_have_them(rnd: random.Random) -> None:
    found = 0
    for _ in range(300):
        scope = scope_of_somebody(rnd)
        spend = spend_in(rnd, scope)
        if not spend.is_base:
            continue
        row = packed(rnd, spend)
        closed = {window for window in spend.closed if window[0] in PLACES}
        tables = [ScopeTable(), ScopeTable(), ScopeTable()]
        # As where the core was not built.
        tables[2]._idle = PythonRows()
        tables[0].add(scope, spend)
        for table in tables[1:]:
            table.restore_open(scope, row)
            for window, closed_sum in spend.closed.items():
                table.restore_closed(scope, window, closed_sum)
        for calendar, start_ms in {*spend.open_windows()[: len(PLACES)], *closed, ("month", 900_000), ("day", 0)}:
            budget = budget_on(calendar, rnd.choice(("usd", "events", "images", "input_tokens")))
            sum_ = spend.window(calendar, start_ms)
            wanted = budget.measure(sum_) if sum_ is not None else 0
            found += wanted > 0
            for table in tables:
                assert table.values(["user/nobody", scope], budget, start_ms) == [0, wanted]
    assert found > 100


def test_a_row_with_fewer_windows_has_nothing_in_the_others() -> None:
    row = b'[7,[1,0,1,{"images":5}],900000,[%d,0,1,{}],{"week":[900000,[3,0,1,{}]]}]' % 10**20
    for rows in (new_rows(), PythonRows()):
        table = ScopeTable()
        table._idle = rows
        table.restore_open("user/u1", row)

        def value(calendar: str, start_ms: int, unit: str = "usd", table: ScopeTable = table) -> int:
            return table.values(["user/u1"], budget_on(calendar, unit), start_ms)[0]

        assert value("lifetime", 0) == 1
        assert value("lifetime", 0, "images") == 5
        assert value("lifetime", 0, "videos") == 0
        assert value("lifetime", 0, "events") == 10**9
        # More than the core hands over.
        assert value("hour", 900_000) == 10**20
        assert value("hour", 0) == 0
        assert value("day", 900_000) == 0
        assert value("month", 900_000) == 0
