"""Rows of the state topics, decoded without the ledger."""

import msgspec
import pytest

from tollgate.verification.following import Kind, Row
from tollgate.verification.snapshot import Cut
from tollgate.verification.state import Counted, read_counted, scope_of, windows_of
from tollgate.verification.sums import Sum
from tollgate.verification.view import View, take_state

LIFETIME = "user/a|b|lifetime|1970-01-01T00:00:00Z"


def test_the_row_of_a_scope_has_lifetime_and_the_newest_windows_that_are_not_empty() -> None:
    # 2026-11-21T10:00Z, its day and its month; nothing was counted in the hour.
    row = [7, [9, 1, 3, {"images": 5}], 1_795_255_200_000, [0, 0, 0, {}], 1_795_219_200_000, [4, 0, 1, {}],
           1_793_491_200_000, [8, 0, 2, {}]]  # fmt: skip
    assert windows_of(b"s|user/a|b", msgspec.json.encode(row)) == [
        (LIFETIME, Sum(9, 1, 3, {"images": 5})),
        ("user/a|b|day|2026-11-21T00:00:00Z", Sum(4, 0, 1)),
        ("user/a|b|month|2026-11-01T00:00:00Z", Sum(8, 0, 2)),
    ]
    assert scope_of(b"s|user/a|b") == "user/a|b"


def test_a_window_that_was_replaced_has_a_row_of_its_own_until_it_is_forgotten() -> None:
    key = b"w|hour|1795255200000|user/a|b"
    assert windows_of(key, b"[7,9,1,3,{}]") == [("user/a|b|hour|2026-11-21T10:00:00Z", Sum(9, 1, 3))]
    assert windows_of(key, None) == [("user/a|b|hour|2026-11-21T10:00:00Z", None)]
    assert scope_of(key) == "user/a|b"


def test_rows_of_other_things_have_no_sums() -> None:
    assert [scope_of(key) for key in (b"d|user/a", b"u|openai/x", b"o")] == [None, None, None]


@pytest.mark.parametrize("value", [b"{", b"[7]", b"[7,[1,2],0,[0,0,0,{}]]", None])
def test_what_is_no_row_is_refused(value: bytes | None) -> None:
    with pytest.raises((ValueError, TypeError, IndexError)):
        windows_of(b"s|user/a", value)


def test_the_offset_row_says_what_the_state_counts() -> None:
    row = b'{"next":12,"sequence":5,"said":4,"clock_ms":9,"writer":"tollgate.3"}'
    # A release before this one added no credits to its sums, so none of what it counted has any.
    assert read_counted(row) == Counted(12, 5, 4, 9, 0, 12)
    row = b'{"next":12,"next_entries":3,"sequence":5,"said":4,"clock_ms":9,"credits_from":7,"writer":"tollgate.3"}'
    assert read_counted(row) == Counted(12, 5, 4, 9, 3, 7)


DAY = "day@America/New_York"


def test_a_scopes_row_may_have_windows_in_other_calendars_behind_its_own() -> None:
    row = [7, [9, 1, 3, {}], 0, [0, 0, 0, {}], 0, [0, 0, 0, {}], 0, [0, 0, 0, {}],
           {"week": [1_794_787_200_000, [4, 0, 1, {}]], DAY: [1_793_505_600_000, [0, 0, 0, {}]]}]  # fmt: skip
    assert windows_of(b"s|user/a", msgspec.json.encode(row)) == [
        ("user/a|lifetime|1970-01-01T00:00:00Z", Sum(9, 1, 3)),
        ("user/a|week|2026-11-16T00:00:00Z", Sum(4, 0, 1)),
    ]


def test_a_combination_has_only_the_windows_that_budgets_need() -> None:
    key, row = b"s|user/a+model/m", [7, {DAY: [1_793_505_600_000, [4, 0, 1, {}]]}]
    assert windows_of(key, msgspec.json.encode(row)) == [
        (f"user/a+model/m|{DAY}|2026-11-01T04:00:00Z", Sum(4, 0, 1)),
    ]
    assert windows_of(key, None) == []


def test_rows_of_accounts_and_reservations_belong_to_their_users() -> None:
    assert [scope_of(key) for key in (b"c|a|b", b"h|a%7Cb|s|x|y", b"c|u+model/x")] == [
        "user/a|b", "user/a|b", "user/u%2Bmodel/x",
    ]  # fmt: skip


def view_of(*rows: tuple[str, bytes | None], at_cut: int) -> View:
    """The view of these rows of a combination, of which so many were there at the cut."""
    view, cut = View(), Cut(1, user_rows={0: at_cut})
    for offset, (key, value) in enumerate(rows):
        take_state(view, Row(Kind.USER_STATE, 0, offset, key.encode(), value), cut)
    return view


def test_a_window_that_nobody_needs_or_that_a_newer_one_replaces_without_a_row_is_gone() -> None:
    key, old, new = "s|user/a+model/m", 1_793_505_600_000, 1_793_595_600_000

    def row(start_ms: int) -> bytes:
        return msgspec.json.encode([7, {DAY: [start_ms, [4, 0, 1, {}]]}])

    closed = (f"w|{DAY}|{old}|user/a+model/m", b"[7,4,0,1,{}]")
    first, second = (f"user/a+model/m|{DAY}|2026-11-0{n}T0{3 + n}:00:00Z" for n in (1, 2))
    assert view_of((key, row(old)), (key, None), at_cut=2).state == {}
    assert set(view_of((key, row(old)), (key, row(new)), at_cut=2).state) == {second}
    for rows in ([(key, row(old)), closed, (key, row(new))], [(key, row(old)), (key, row(new)), closed]):
        assert set(view_of(*rows, at_cut=3).state) == {first, second}
    since = view_of((key, row(old)), (key, None), at_cut=1)
    assert (set(since.state), since.forgotten) == ({first}, {first})
