"""Sums by window: open and closed, late and out of order."""

import random

import msgspec

from tollgate.domain.spend import ScopeSpend, Spend, counts_more, unpack_open_row
from tollgate.domain.windows import HOUR_MS, LIFETIME, Horizon, Windows, windows_at
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.vocabulary import WindowKind

TEN = parse_instant("2026-11-21T10:00:00Z")
ELEVEN = TEN + HOUR_MS
MIDNIGHT = parse_instant("2026-11-21T00:00:00Z")
NOVEMBER = parse_instant("2026-11-01T00:00:00Z")
OCTOBER_LAST_HOUR = parse_instant("2026-10-31T23:00:00Z")
OCTOBER = parse_instant("2026-10-01T00:00:00Z")


def without_hour(instant_ms: int) -> Windows:
    return tuple(window for window in windows_at(instant_ms) if window[0] is not WindowKind.HOUR)


def cost_of(scope: ScopeSpend, kind: str, start: int) -> int | None:
    spend = scope.window(kind, start)
    return None if spend is None else spend.cost_picousd


def test_an_amount_counts_in_hour_day_month_and_lifetime() -> None:
    scope = ScopeSpend()
    scope.add(windows_at(TEN), Spend(7, 2, 1, {"images": 3}))
    for kind, start in ((WindowKind.HOUR, TEN), (WindowKind.DAY, MIDNIGHT), (WindowKind.MONTH, NOVEMBER)):
        assert cost_of(scope, kind, start) == 7
    assert scope.window(*LIFETIME) == Spend(7, 2, 1, {"images": 3})


def test_a_new_hour_closes_the_old_one_and_keeps_the_day() -> None:
    scope = ScopeSpend()
    scope.add(windows_at(TEN), Spend(7, 0, 1))
    changed = scope.add(windows_at(ELEVEN), Spend(5, 0, 1))
    assert (WindowKind.HOUR, TEN) in changed
    assert not scope.is_open((WindowKind.HOUR, TEN))
    assert cost_of(scope, WindowKind.HOUR, TEN) == 7
    assert cost_of(scope, WindowKind.HOUR, ELEVEN) == 5
    assert cost_of(scope, WindowKind.DAY, MIDNIGHT) == 12


def test_a_late_amount_changes_its_own_month_and_not_the_current_one() -> None:
    scope = ScopeSpend()
    scope.add(windows_at(TEN), Spend(7, 0, 1))
    scope.add(without_hour(OCTOBER_LAST_HOUR), Spend(5, 0, 1))
    assert cost_of(scope, WindowKind.MONTH, OCTOBER) == 5
    assert cost_of(scope, WindowKind.MONTH, NOVEMBER) == 7
    assert cost_of(scope, WindowKind.HOUR, OCTOBER_LAST_HOUR) is None
    assert cost_of(scope, *LIFETIME) == 12


def test_an_amount_older_than_every_window_counts_in_lifetime_alone() -> None:
    scope = ScopeSpend()
    assert scope.add((LIFETIME,), Spend(9, 0, 1)) == [LIFETIME]
    assert cost_of(scope, *LIFETIME) == 9
    assert list(scope.windows()) == [LIFETIME]


def test_rows_bring_back_the_same_scope() -> None:
    scope = ScopeSpend()
    scope.add(windows_at(TEN), Spend(10**20, 3, 1, {"input_tokens": 10**25}))
    back = ScopeSpend.from_open_row(scope.open_row())
    assert back.open_row() == scope.open_row()


def test_a_row_of_a_release_with_fewer_kinds_has_spent_nothing_in_the_others() -> None:
    # As 0.1 would have written it without months: 7 in lifetime, hour and day.
    scope = ScopeSpend.from_open_row(unpack_open_row(b"[3,[7,0,1,{}],%d,[7,0,1,{}],%d,[7,0,1,{}]]" % (TEN, MIDNIGHT)))
    assert cost_of(scope, WindowKind.HOUR, TEN) == 7
    assert cost_of(scope, WindowKind.MONTH, NOVEMBER) is None
    scope.add(windows_at(TEN), Spend(5, 0, 1))
    assert cost_of(scope, WindowKind.DAY, MIDNIGHT) == 12
    assert cost_of(scope, WindowKind.MONTH, NOVEMBER) == 5
    assert scope.closed == {}


def test_a_row_of_a_release_with_more_kinds_is_read_without_them() -> None:
    scope = ScopeSpend()
    scope.add(windows_at(TEN), Spend(7, 0, 1))
    row = [*scope.open_row(3), 86_400_000, Spend(2, 0, 1)]
    assert ScopeSpend.from_open_row(row).open_row(3) == scope.open_row(3)


def test_the_row_of_the_open_windows_is_this() -> None:
    scope = ScopeSpend()
    scope.add(windows_at(TEN), Spend(7, 2, 1, {"images": 3}))
    total = b'[7,2,1,{"images":3}]'
    assert msgspec.json.encode(scope.open_row(5)) == b"[5,%b,%d,%b,%d,%b,%d,%b]" % (
        total, TEN, total, MIDNIGHT, total, NOVEMBER, total,
    )  # fmt: skip


TOKYO = "day@Asia/Tokyo"
TOKYO_TODAY = parse_instant("2026-11-20T15:00:00Z")
TOKYO_TOMORROW = parse_instant("2026-11-21T15:00:00Z")
MONDAY = parse_instant("2026-11-16T00:00:00Z")


def test_a_scope_counts_in_calendars_beyond_the_base_ones_and_its_row_ends_with_them() -> None:
    scope = ScopeSpend()
    scope.add(windows_at(TEN), Spend(7, 0, 1))
    windows = (*windows_at(TEN), (TOKYO, TOKYO_TODAY), ("week", MONDAY))
    scope.add(windows, Spend(5, 0, 1))
    # Once it is there, it is counted like the others.
    assert scope.add(windows, Spend(2, 0, 1)) is windows
    assert msgspec.json.encode(scope.open_row(5)) == (
        b"[5,[14,0,3,{}],%d,[14,0,3,{}],%d,[14,0,3,{}],%d,[14,0,3,{}],"
        b'{"day@Asia/Tokyo":[%d,[7,0,2,{}]],"week":[%d,[7,0,2,{}]]}]'
    ) % (TEN, MIDNIGHT, NOVEMBER, TOKYO_TODAY, MONDAY)
    assert scope.more_calendars() == (TOKYO, "week")


def test_calendars_are_in_order_whichever_came_first() -> None:
    scope = ScopeSpend()
    scope.add((*windows_at(TEN), ("week", MONDAY)), Spend(1, 0, 1))
    windows = (*windows_at(TEN), (TOKYO, TOKYO_TODAY), ("week", MONDAY))
    scope.add(windows, Spend(1, 0, 1))
    assert scope.open_windows() == windows


def test_a_day_in_tokyo_closes_in_the_middle_of_the_day_in_utc() -> None:
    scope = ScopeSpend()
    for start in (TOKYO_TODAY, TOKYO_TOMORROW):
        at = max(start, TEN)
        scope.add((*windows_at(at), (TOKYO, start)), Spend(3, 0, 1))
    assert cost_of(scope, "day", MIDNIGHT) == 6
    assert cost_of(scope, TOKYO, TOKYO_TODAY) == 3
    assert cost_of(scope, TOKYO, TOKYO_TOMORROW) == 3
    assert (TOKYO, TOKYO_TODAY) in scope.closed
    # 62 days are held in any zone.
    assert (TOKYO, TOKYO_TODAY) in scope.evict(Horizon(TOKYO_TODAY + 63 * 24 * HOUR_MS))


def test_a_combination_counts_in_its_own_calendars_alone_and_in_a_small_row() -> None:
    scope = ScopeSpend((("month", NOVEMBER),), is_base=False)
    scope.add((("month", NOVEMBER),), Spend(1_234_567_890, 0, 3, {"output_tokens": 1_200_000_000_000}))
    row = msgspec.json.encode(scope.open_row(123_456))
    assert row == (b'[123456,{"month":[1793491200000,[1234567890,0,3,{"output_tokens":1200000000000}]]}]')
    assert len(row) < 100
    back = ScopeSpend.from_open_row(unpack_open_row(row))
    assert back.open_row(123_456) == scope.open_row(123_456)
    assert (back.is_base, back.more_calendars(), list(back.names)) == (False, ("month",), ["output_tokens"])
    assert list(back.windows()) == [("month", NOVEMBER)]


def test_only_rows_with_further_calendars_look_like_it() -> None:
    scope = ScopeSpend()
    scope.add(windows_at(TEN), Spend(7, 0, 1, {"images": 1}))
    assert not counts_more(msgspec.json.encode(scope.open_row(1)))
    scope.add((*windows_at(TEN), ("week", MONDAY)), Spend(7, 0, 1, {"images": 1}))
    row = msgspec.json.encode(scope.open_row(1))
    assert counts_more(row)
    back = ScopeSpend.from_open_row(unpack_open_row(row))
    assert back.open_windows() == scope.open_windows()
    assert back.open_row(1) == scope.open_row(1)
    assert counts_more(msgspec.json.encode(ScopeSpend((("month", NOVEMBER),), is_base=False).open_row(1)))


def test_a_calendar_that_is_dropped_takes_its_windows_with_it_and_no_other() -> None:
    scope = ScopeSpend()
    for start in (TOKYO_TODAY, TOKYO_TOMORROW):
        scope.add((*windows_at(start), (TOKYO, start), ("week", MONDAY)), Spend(3, 0, 1))
    assert sorted(scope.keep_only(("week",))) == [(TOKYO, TOKYO_TODAY), (TOKYO, TOKYO_TOMORROW)]
    assert cost_of(scope, TOKYO, TOKYO_TODAY) is None
    assert cost_of(scope, "week", MONDAY) == 6
    assert cost_of(scope, "lifetime", 0) == 6
    assert scope.open_windows() == (*windows_at(TOKYO_TOMORROW), ("week", MONDAY))


def test_windows_past_the_horizon_are_forgotten_and_named() -> None:
    scope = ScopeSpend()
    scope.add(windows_at(TEN), Spend(7, 0, 1))
    scope.add(windows_at(ELEVEN), Spend(7, 0, 1))
    assert scope.evict(Horizon(TEN + 72 * HOUR_MS)) == []
    assert scope.evict(Horizon(TEN + 73 * HOUR_MS)) == [(WindowKind.HOUR, TEN)]
    assert cost_of(scope, WindowKind.HOUR, TEN) is None


def test_the_order_of_events_does_not_change_any_sum() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rnd = random.Random(seed)
    events = [(TEN + rnd.randrange(-2000, 50) * HOUR_MS, rnd.randrange(10**15)) for _ in range(300)]
    horizon = Horizon(TEN + 50 * HOUR_MS)

    def sums(order: list[tuple[int, int]]) -> dict[tuple[str, int], int]:
        scope = ScopeSpend()
        for hour, cost in order:
            scope.add(horizon.windows_of(hour), Spend(cost, 0, 1))
        windows = {*scope.windows(), *scope.closed}
        return {w: s.cost_picousd for w in windows if (s := scope.window(*w)) is not None}

    first = sums(events)
    rnd.shuffle(events)
    assert sums(events) == first
    assert first[WindowKind.LIFETIME, 0] == sum(cost for _, cost in events)
