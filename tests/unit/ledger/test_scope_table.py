"""Many scopes in little memory: packed and unpacked ones are the same to everybody else."""

import random

from tollgate.domain.spend import ScopeSpend, Spend, pack_spend, unpack_spend
from tollgate.domain.windows import HOUR_MS, LIFETIME, WindowKey, windows_at
from tollgate.ledger.scope_table import ScopeTable
from tollgate.schemas.vocabulary import WindowKind

# 2026-11-21T10:00:00Z
TEN_MS = 1_795_255_200_000


def everything(spend: ScopeSpend) -> tuple[object, dict[WindowKey, Spend]]:
    return spend.open_row(), {window: unpack_spend(packed) for window, packed in spend.closed.items()}


def add(table: ScopeTable, scope: str, hour_start_ms: int, amount: Spend) -> None:
    spend = table.take(scope)
    if spend is None:
        spend = ScopeSpend()
        table.add(scope, spend)
    spend.add(windows_at(hour_start_ms), amount)


def test_a_small_table_holds_the_same_spend_as_one_that_never_packs() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rnd = random.Random(seed)
    small, large = ScopeTable(busy_max=3), ScopeTable(busy_max=10**9)
    for _ in range(400):
        changed: dict[str, None] = {}
        for _ in range(rnd.randrange(1, 8)):
            scope = f"user/{rnd.randrange(30)}"
            hour, cost = TEN_MS + rnd.randrange(-30, 30) * HOUR_MS, rnd.randrange(10**30)
            for table in (small, large):
                add(table, scope, hour, Spend(cost, 1, 1, {"images": cost + 1}))
            changed[scope] = None
        small.settle(changed)
        large.settle(changed)
        assert small.busy <= 3
    assert len(small) == len(large) == 30
    assert sorted(small.names()) == sorted(large.names())
    for scope in large.names():
        packed, whole = small.find(scope), large.find(scope)
        assert packed is not None
        assert whole is not None
        assert everything(packed) == everything(whole)


def test_the_scopes_that_were_changed_last_stay_busy() -> None:
    table = ScopeTable(busy_max=2)
    for scope in ("a", "b", "c"):
        add(table, scope, TEN_MS, Spend(1, 0, 1))
    table.settle(["a"])
    kept = table.take("a")
    assert kept is table.find("a")
    # `b` was packed: every look unpacks it again, until it is taken.
    assert table.find("b") is not table.find("b")
    assert table.busy == 2


def test_what_was_found_in_an_idle_scope_is_for_reading_and_changes_nothing() -> None:
    table = ScopeTable()
    first = ScopeSpend()
    first.add(windows_at(TEN_MS), Spend(5, 0, 1))
    other = ScopeTable(busy_max=0)
    other.add("a", first)
    other.settle([])
    assert (other.busy, len(other), "a" in other) == (0, 1, True)
    found = other.find("a")
    assert found is not None
    assert found.window(*LIFETIME) == Spend(5, 0, 1)
    assert other.busy == 0
    assert (table.find("a"), table.take("a"), "a" in table) == (None, None, False)


def test_restored_closed_windows_belong_to_their_scope_whichever_row_came_first() -> None:
    source = ScopeSpend()
    source.add(windows_at(TEN_MS), Spend(7, 0, 1))
    table = ScopeTable(busy_max=0)
    closed = (WindowKind.HOUR, TEN_MS - HOUR_MS)
    table.restore_closed("a", closed, pack_spend(Spend(3, 0, 1)))
    table.add("a", source)
    table.settle([])
    assert len(table) == 1
    table = ScopeTable()
    table.restore_closed("a", closed, pack_spend(Spend(3, 0, 1)))
    table.restore_open("a", b"[9,[7,0,1,{}],%d,[7,0,1,{}],0,[7,0,1,{}],0,[7,0,1,{}]]" % TEN_MS)
    spend = table.take("a")
    assert spend is not None
    assert spend.window(*closed) == Spend(3, 0, 1)
    assert spend.window(WindowKind.HOUR, TEN_MS) == Spend(7, 0, 1)
    spend.add(windows_at(closed[1]), Spend(2, 0, 1))
    assert table.find("a") is spend
    assert spend.window(*closed) == Spend(5, 0, 2)
