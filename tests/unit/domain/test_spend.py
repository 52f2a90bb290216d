"""Sums by window: open and closed, late and out of order."""

import random

import msgspec

from tollgate.domain.spend import ScopeSpend, Spend, unpack_open_row
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
