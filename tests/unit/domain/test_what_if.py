"""What a change of a budget would do to flags."""

import random

import pytest

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.stops import Stop
from tollgate.domain.what_if import Effect, differing_spans, effect
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.outputs import FlagState

USD = 10**12
NOW = 1_795_000_000_000


def budget(scope: str, limit: str, budget_id: str = "", window: str = "month", **thresholds: tuple[str, str]) -> Budget:
    given = {level: {"percent": percent, "action": action} for level, (percent, action) in thresholds.items()}
    record = {"scope": scope, "limit": limit, "window": window, "updated_at": "2026-11-01T00:00:00Z"}
    chosen = ({"thresholds": given} if given else {}) | ({"id": budget_id} if budget_id else {})
    return Budget.from_record(BudgetRecord.model_validate(record | chosen))


def would(scope: str, spent: int, before: list[Budget], after: list[Budget], stop: Stop | None = None) -> Effect:
    return effect(scope, BudgetBook(before), BudgetBook(after), lambda _budget, _start: spent * USD, NOW, stop)


@pytest.mark.parametrize(
    ("spent", "before", "after"),
    [
        (79, FlagState.OK, FlagState.OK),
        (80, FlagState.WARNING, FlagState.OK),
        (99, FlagState.WARNING, FlagState.OK),
        (100, FlagState.BLOCKED, FlagState.OK),
        (119, FlagState.BLOCKED, FlagState.OK),
        (120, FlagState.BLOCKED, FlagState.WARNING),
        (149, FlagState.BLOCKED, FlagState.WARNING),
        (150, FlagState.BLOCKED, FlagState.BLOCKED),
    ],
)
def test_a_limit_of_100_is_raised_to_150(spent: int, before: FlagState, after: FlagState) -> None:
    found = would("user/u", spent, [budget("user/*", "100")], [budget("user/*", "150")])
    assert (found.before.state, found.after.state) == (before, after)
    assert found.is_change is (before is not after)


def test_a_budget_of_its_own_takes_a_scope_out_of_the_pattern() -> None:
    pattern, own = budget("user/*", "100"), budget("user/u", "500")
    found = would("user/u", 120, [pattern], [pattern, own])
    assert (found.before.state, found.after.state) == (FlagState.BLOCKED, FlagState.OK)
    found = would("user/v", 120, [pattern], [pattern, own])
    assert not found.is_change


def test_another_budget_of_the_scope_still_blocks() -> None:
    monthly, daily = budget("agent/a", "100"), budget("agent/a", "10", window="day")
    found = would("agent/a", 120, [monthly, daily], [budget("agent/a", "500"), daily])
    assert (found.before.state, found.after.state) == (FlagState.BLOCKED, FlagState.BLOCKED)
    assert found.after.shown is not None
    assert found.after.shown.budget is daily


def test_while_all_is_stopped_by_hand_the_company_stays_stopped() -> None:
    stop = Stop(True, "ada", "x")
    found = would("global", 120, [budget("global", "100")], [budget("global", "500")], stop)
    assert (found.before.state, found.after.state, found.after.shown) == (FlagState.STOPPED, FlagState.STOPPED, None)
    found = would("global", 120, [budget("global", "100")], [], Stop(False))
    assert (found.before.state, found.after.state) == (FlagState.BLOCKED, FlagState.OK)


def test_spans_are_where_two_budgets_differ() -> None:
    assert differing_spans(budget("user/*", "100"), budget("user/*", "150")) == [(80 * USD, 150 * USD)]
    assert differing_spans(budget("user/*", "100"), budget("user/*", "100")) == []
    assert differing_spans(budget("user/*", "100"), None) == [(80 * USD, None)]
    assert differing_spans(None, budget("user/*", "100")) == [(80 * USD, None)]
    # From a warning at 10 and a block at 100 to a warning at 20 and a block at 90.
    early = budget("user/*", "100", warning=("10", "alert"), critical=("100", "block"))
    late = budget("user/*", "100", warning=("20", "alert"), critical=("90", "block"))
    assert differing_spans(early, late) == [(10 * USD, 20 * USD), (90 * USD, 100 * USD)]
    assert differing_spans(None, None) == []


def test_a_value_is_within_a_span_just_when_the_states_differ() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    actions = ("alert", "downgrade", "block", "stop")
    for _ in range(300):
        pair = []
        for _ in range(2):
            percents = sorted(f"{chance.randint(1, 300)}.{chance.randint(1, 999)}" for _ in range(3))
            percents.sort(key=float)
            levels = zip(("warning", "critical", "emergency"), percents, strict=True)
            thresholds = {level: (percent, chance.choice(actions)) for level, percent in levels}
            pair.append(budget("user/*", f"0.{chance.randint(1, 10**12 - 1):012d}", "", "month", **thresholds))
        spans = differing_spans(*pair)
        edges = {
            value for one in pair for t in one.thresholds for value in [t.percent_nano * one.limit // (100 * 10**9)]
        }
        for value in {near for edge in edges for near in (edge - 1, edge, edge + 1)} | {0}:
            states = [t.state if (t := one.reached(value)) else FlagState.OK for one in pair]
            inside = any(low <= value and (high is None or value < high) for low, high in spans)
            assert inside is (states[0] is not states[1]), (value, spans, pair)


def test_a_book_with_one_budget_replaced() -> None:
    one, other = budget("user/*", "1", "a"), budget("agent/x", "1", "b")
    book = BudgetBook([one, other])
    assert {b.id for b in book} == {"a", "b"}
    new = budget("agent/y", "2", "a")
    changed = book.replacing("a", new)
    assert changed.for_scope("user/u") == []
    assert changed.for_scope("agent/y") == [new]
    assert book.for_scope("user/u") == [one]
    assert list(book.replacing("a", None)) == [other]
    assert len(list(book.replacing("c", new))) == 3


def test_a_negative_sum_reads_as_negative_percent() -> None:
    one = budget("user/u", "100")
    assert [one.percent(value) for value in (-USD // 20, -5 * USD, 0, 104_200_000_000_000)] == [
        "-0.05",
        "-5.00",
        "0.00",
        "104.20",
    ]
