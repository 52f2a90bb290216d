"""A row of ClickHouse's balances is the record that it names, or a later one."""

import msgspec
import pytest

from tollgate.verification.balance_rows import BalanceRowsCheck, encode_row
from tollgate.verification.report import Check
from tollgate.verification.view import View

RECORD = {
    "user": "u1", "available": "-2.5", "reserved": "5", "granted": "110", "burned": "100", "expired": "7.500000001",
    "free_today": "0", "free_per_day": "10", "buckets": [],
}  # fmt: skip
ROW = ["-2.5", "5", "110", "100", "7.500000001", "0", "10"]
PLACE = (3, 8)


def compared(row: list[str] | None, place: tuple[int, int] = PLACE, record: object = RECORD) -> Check:
    """The topic was read to offset 9 of partition 3, and its record is at offset 8."""
    view = View()
    if record is not None:
        view.balances, view.balance_places = {"u1": msgspec.json.encode(record)}, {"u1": PLACE}
    if row is not None:
        view.balance_table = {"u1": (encode_row(row), place)}
    check = BalanceRowsCheck({3: 9})
    check.compare(view)
    return check.finish()


def test_the_row_of_the_record_and_a_later_one_are_right() -> None:
    assert (compared(ROW).found, compared(ROW).ok) == ("1 users", True)
    assert compared(["0"] * 7, (3, 9)).ok
    assert compared(ROW, (3, 9), record=None).ok


@pytest.mark.parametrize("number", range(7))
def test_a_row_that_is_off_by_the_smallest_amount_is_found(number: int) -> None:
    row = list(ROW)
    row[number] = "0.000000001"
    assert "0.000000001" in compared(row).difference


def test_a_row_of_an_earlier_record_and_one_too_many_or_too_few_are_found() -> None:
    assert compared(ROW, (3, 7)).difference == "row of u1: expected that of (3, 8), found that of (3, 7)"
    assert compared(ROW, record=None).difference == "row of u1: expected none, found one"
    assert compared(None).difference == "row of u1: expected one, found none"
