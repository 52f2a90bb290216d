"""Which rows of sums ClickHouse may have beyond those that the worker still keeps."""

import pytest

from tollgate.verification.meters import Began, Meter, Meters
from tollgate.verification.snapshot import Cut
from tollgate.verification.spend import Range, WindowsCheck, compare_table
from tollgate.verification.sums import Sum
from tollgate.verification.view import View

NOW_MS = 1_795_255_200_000  # 2026-11-21T10:00:00Z
OCTOBER_MS = 1_790_812_800_000  # 2026-10-01T00:00:00Z
LATER_MS = 1_794_787_200_000  # 2026-11-16T00:00:00Z
ROW = (Sum(20 * 10**12, 0, 2), (0, 7))

MONTH = "user/u1|month|2026-11-01T00:00:00Z"
WEEK = "user/u1|week|2026-11-09T00:00:00Z"
OF_MODEL = "model/x|week|2026-11-09T00:00:00Z"
COMBINED = "user/u1+model/gpt-4o|month@Asia/Tokyo|2026-10-31T15:00:00Z"
AGES_AGO = "user/u1+model/gpt-4o|hour|2026-11-09T00:00:00Z"


def compared(key: str, meter: Meter | None, since_ms: int) -> WindowsCheck:
    """ClickHouse has a row that is in neither the state nor the topic."""
    meters = Meters({meter: {0: Began(0, since_ms, NOW_MS, True)}}) if meter is not None else Meters()
    cut = Cut(1, user_clocks={0: NOW_MS}, shared={0: {0: 100}}, shared_clocks={0: NOW_MS}, meters=meters)
    check = WindowsCheck("ClickHouse spend", "ClickHouse spend")
    compare_table(check, {}, View(table={key: ROW}), Range(cut, {}))
    return check


@pytest.mark.parametrize(
    ("key", "meter", "since_ms"),
    [
        (WEEK, None, 0),
        (OF_MODEL, None, 0),
        (COMBINED, None, 0),
        (AGES_AGO, None, 0),
        (COMBINED, Meter("user/u1+model/gpt-9", "month@Asia/Tokyo"), OCTOBER_MS),
        (COMBINED, Meter("user/u1+model/*", "month"), OCTOBER_MS),
        # It was removed, and set again after the week.
        (WEEK, Meter("user/*", "week"), LATER_MS),
    ],
)
def test_a_row_stays_of_a_sum_that_no_budget_needs_any_more(key: str, meter: Meter | None, since_ms: int) -> None:
    check = compared(key, meter, since_ms)
    assert (check.difference, check.left_over) == ("", 1)


@pytest.mark.parametrize(
    ("key", "meter"),
    [
        (MONTH, None),
        (MONTH.replace("-11-", "-10-"), Meter("user/*", "week")),
        (WEEK, Meter("user/*", "week")),
        (WEEK, Meter("user/u1", "week")),
        (OF_MODEL, Meter("model/x", "week")),
        (COMBINED, Meter("user/u1+model/*", "month@Asia/Tokyo")),
        (COMBINED, Meter("user/*+model/*", "month@Asia/Tokyo")),
    ],
)
def test_a_row_too_many_of_a_sum_that_is_kept_is_found(key: str, meter: Meter | None) -> None:
    check = compared(key, meter, OCTOBER_MS)
    assert check.difference.endswith("expected no row, found 20 USD, 2 events")
    assert check.left_over == 0
