"""What holds for every history."""

from hypothesis import example, given
from hypothesis import strategies as st

from tollgate.domain.forecast import Forecast, History, forecast
from tollgate.domain.windows import DAY_MS, HOUR_MS, month_start, months_later

_TODAY = 20_000 * DAY_MS
_COSTS = st.integers(min_value=0, max_value=10**20)
_SIGNED = st.integers(min_value=-(10**20), max_value=10**20)
_NOW = st.integers(min_value=_TODAY, max_value=_TODAY + DAY_MS - 1)


def _days(amounts: list[int]) -> dict[int, int]:
    """The last of them is today."""
    return {_TODAY - back * DAY_MS: amount for back, amount in enumerate(reversed(amounts))}


def _forecast(amounts: list[int], now_ms: int, *, hours: list[int] | None = None, limit: int | None = None) -> Forecast:
    days = _days(amounts)
    start = month_start(now_ms)
    spent = sum(amount for at, amount in days.items() if at >= start)
    by_hour = {_TODAY - back * HOUR_MS: amount for back, amount in enumerate(hours or [])}
    return forecast(History.of(days, by_hour), spent, months_later(start, 1), now_ms, limit)


@given(st.lists(_SIGNED, max_size=40), _NOW, st.lists(_SIGNED, max_size=72), _SIGNED)
def test_the_range_contains_the_projection_which_is_never_below_what_is_spent(
    amounts: list[int], now_ms: int, hours: list[int], limit: int
) -> None:
    found = _forecast(amounts, now_ms, hours=hours, limit=limit)
    assert found.spent_picousd <= found.low_picousd <= found.projected_picousd <= found.high_picousd
    assert all(0 <= day.low_picousd <= day.middle_picousd <= day.high_picousd for day in found.days)
    assert sum(day.middle_picousd for day in found.days) == found.projected_picousd - found.spent_picousd
    assert found.pace_picousd >= 0


@given(st.lists(_SIGNED, max_size=40), _NOW, _SIGNED)
def test_the_limit_is_reached_within_the_window_just_when_the_projection_says_so(
    amounts: list[int], now_ms: int, limit: int
) -> None:
    found = _forecast(amounts, now_ms, limit=limit)
    assert (found.limit_reached_ms is not None) == (found.projected_picousd >= limit)
    if found.limit_reached_ms is not None:
        assert now_ms <= found.limit_reached_ms <= months_later(month_start(now_ms), 1)


@given(st.lists(_COSTS, min_size=1, max_size=40), _NOW, _COSTS)
def test_a_higher_limit_is_reached_later_if_at_all(amounts: list[int], now_ms: int, more: int) -> None:
    low = _forecast(amounts, now_ms, limit=10**19).limit_reached_ms
    high = _forecast(amounts, now_ms, limit=10**19 + more).limit_reached_ms
    assert high is None or (low is not None and low <= high)


@given(st.lists(_COSTS, min_size=1, max_size=40), _NOW, _COSTS)
def test_more_spent_today_is_never_a_lower_projection(amounts: list[int], now_ms: int, more: int) -> None:
    with_more = [*amounts[:-1], amounts[-1] + more]
    assert _forecast(with_more, now_ms).projected_picousd >= _forecast(amounts, now_ms).projected_picousd


@given(st.lists(_COSTS, min_size=1, max_size=40), _NOW, st.integers(0, 40 * DAY_MS), st.integers(0, 40 * DAY_MS))
@example([5], _TODAY, 105, 5)
def test_a_longer_window_is_never_a_lower_projection(amounts: list[int], now_ms: int, first: int, more: int) -> None:
    history = History.of(_days(amounts))
    short = forecast(history, 0, now_ms + first, now_ms)
    longer = forecast(history, 0, now_ms + first + more, now_ms)
    # Each day's expectation is rounded, at most twice by half a unit. With a first minute of history alone, the pace
    # that is believed falls as the window grows, so that both are ten times what was seen.
    assert longer.projected_picousd >= short.projected_picousd - len(short.days) - len(longer.days)


@given(st.lists(_COSTS, min_size=1, max_size=40), _NOW, st.integers(1, 1000))
def test_a_thousandfold_history_is_a_thousandfold_projection(amounts: list[int], now_ms: int, times: int) -> None:
    once = _forecast(amounts, now_ms).projected_picousd * times
    many = _forecast([amount * times for amount in amounts], now_ms).projected_picousd
    # Each day's expectation is rounded twice by half a unit.
    assert abs(many - once) <= 64 * times
