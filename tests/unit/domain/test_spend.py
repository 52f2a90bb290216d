"""Sums by window: open and closed, late and out of order."""

import random

from tollgate.domain.spend import ScopeSpend, Spend
from tollgate.domain.windows import HOUR_MS, Horizon
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.outputs import WindowKind

TEN = parse_instant("2026-11-21T10:00:00Z")
ELEVEN = TEN + HOUR_MS
MIDNIGHT = parse_instant("2026-11-21T00:00:00Z")
NOVEMBER = parse_instant("2026-11-01T00:00:00Z")
OCTOBER_LAST_HOUR = parse_instant("2026-10-31T23:00:00Z")
OCTOBER = parse_instant("2026-10-01T00:00:00Z")


def cost_of(scope: ScopeSpend, kind: WindowKind, start: int) -> int | None:
    spend = scope.window(kind, start)
    return None if spend is None else spend.cost_picousd


def test_an_amount_counts_in_hour_day_month_and_lifetime() -> None:
    scope = ScopeSpend(TEN)
    scope.add(TEN, 4, Spend(7, 2, 1, {"images": 3}))
    for kind, start in ((WindowKind.HOUR, TEN), (WindowKind.DAY, MIDNIGHT), (WindowKind.MONTH, NOVEMBER)):
        assert cost_of(scope, kind, start) == 7
    assert scope.lifetime == Spend(7, 2, 1, {"images": 3})


def test_a_new_hour_closes_the_old_one_and_keeps_the_day() -> None:
    scope = ScopeSpend(TEN)
    scope.add(TEN, 4, Spend(7, 0, 1))
    changed = scope.add(ELEVEN, 4, Spend(5, 0, 1))
    assert (WindowKind.HOUR, TEN) in changed
    assert not scope.is_open((WindowKind.HOUR, TEN))
    assert cost_of(scope, WindowKind.HOUR, TEN) == 7
    assert cost_of(scope, WindowKind.HOUR, ELEVEN) == 5
    assert cost_of(scope, WindowKind.DAY, MIDNIGHT) == 12


def test_a_late_amount_changes_its_own_month_and_not_the_current_one() -> None:
    scope = ScopeSpend(TEN)
    scope.add(TEN, 4, Spend(7, 0, 1))
    scope.add(OCTOBER_LAST_HOUR, 3, Spend(5, 0, 1))
    assert cost_of(scope, WindowKind.MONTH, OCTOBER) == 5
    assert cost_of(scope, WindowKind.MONTH, NOVEMBER) == 7
    assert cost_of(scope, WindowKind.HOUR, OCTOBER_LAST_HOUR) is None
    assert scope.lifetime.cost_picousd == 12


def test_an_amount_older_than_every_window_counts_in_lifetime_alone() -> None:
    scope = ScopeSpend(TEN)
    assert scope.add(0, 1, Spend(9, 0, 1)) == [(WindowKind.LIFETIME, 0)]
    assert scope.lifetime.cost_picousd == 9
    assert scope.month.events == 0


def test_rows_bring_back_the_same_scope() -> None:
    scope = ScopeSpend(TEN)
    scope.add(TEN, 4, Spend(10**20, 3, 1, {"input_tokens": 10**25}))
    back = ScopeSpend.from_open_row(scope.open_row())
    assert back.open_row() == scope.open_row()


def test_windows_past_the_horizon_are_forgotten_and_named() -> None:
    scope = ScopeSpend(TEN)
    scope.add(TEN, 4, Spend(7, 0, 1))
    scope.add(ELEVEN, 4, Spend(7, 0, 1))
    assert scope.evict(Horizon(TEN + 72 * HOUR_MS)) == []
    assert scope.evict(Horizon(TEN + 73 * HOUR_MS)) == [(WindowKind.HOUR, TEN)]
    assert cost_of(scope, WindowKind.HOUR, TEN) is None


def test_the_order_of_events_does_not_change_any_sum() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rnd = random.Random(seed)
    events = [(TEN + rnd.randrange(-2000, 50) * HOUR_MS, rnd.randrange(10**15)) for _ in range(300)]
    horizon = Horizon(TEN + 50 * HOUR_MS)

    def sums(order: list[tuple[int, int]]) -> dict[tuple[WindowKind, int], int]:
        scope = ScopeSpend(order[0][0])
        for hour, cost in order:
            scope.add(hour, horizon.held_kinds(hour), Spend(cost, 0, 1))
        windows = {*scope.windows(), *scope.closed}
        return {w: s.cost_picousd for w in windows if (s := scope.window(*w)) is not None}

    first = sums(events)
    rnd.shuffle(events)
    assert sums(events) == first
    assert first[WindowKind.LIFETIME, 0] == sum(cost for _, cost in events)
