"""Rows of the state topics, decoded without the ledger."""

import msgspec
import pytest

from tollgate.verification.state import Counted, read_counted, scope_of, windows_of
from tollgate.verification.sums import Sum

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
    assert read_counted(row) == Counted(12, 5, 4, 9)
