"""What a change of a budget would do, before it is saved: which flags it would change."""

from collections.abc import Sequence
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict, Field

from tollgate.console.budget_sums import BudgetSums, Wanted, budget_sums
from tollgate.console.numbers import NumbersError
from tollgate.console.parts import Parts
from tollgate.console.scope_parts import is_pattern, matches
from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.stops import Stop
from tollgate.domain.what_if import Effect, Span, Verdict, differing_spans, effect
from tollgate.domain.windows import window_start
from tollgate.schemas.control import SETTING_KEY_PREFIX, STOP_SETTING, SettingRecord
from tollgate.schemas.outputs import FlagState, Measure, Percent
from tollgate.schemas.scopes import GLOBAL_SCOPE
from tollgate.schemas.shown_text import safe

log = structlog.get_logger("tollgate.console")

SCOPES_MAX: Final = 1_000
"""So many scopes are decided one by one; of more the numbers are an estimate."""
NAMES_MAX: Final = 20
"""So many scopes are named for each kind of change."""

_NAMES_IN_SENTENCE: Final = 3
_NAME_CHARS_MAX: Final = 40


class ScopesChanged(BaseModel):
    """Scopes whose flag would change in the same way."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    before: FlagState
    after: FlagState
    count: int
    scopes: list[str] = Field(examples=[["user/u-42"]])
    """At most 20 of them."""


class StandingThen(BaseModel):
    """What a single scope's flag says, and the budget that it shows."""

    state: FlagState
    budget: str | None
    limit: Measure | None
    unit: str | None
    spent: Measure | None
    percent: Percent | None


class Preview(BaseModel):
    """What the change would do to flags, as things are at this moment."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    sentence: str = Field(examples=["Unblocks 3 users: u-1, u-2 and u-3."])
    """For people."""
    level: str = Field(examples=["ok"])
    """`ok`, `warn` when a flag becomes stricter, `over` when something is blocked by it."""
    changes: list[ScopesChanged]
    estimate: bool
    """Whether numbers are missing, or there are too many scopes to decide each: then the counts may be off."""
    estimate_reason: str | None
    before: StandingThen | None
    """Of a budget on a single scope."""
    after: StandingThen | None


class _Candidates:
    """The scopes that a change may concern, and why that may not be all of them."""

    def __init__(self) -> None:
        self.scopes: dict[str, None] = {}
        self.total = 0
        self.reasons: list[str] = []

    def add(self, scopes: Sequence[str], total: int) -> None:
        """Scopes, and how many there are in all."""
        self.scopes.update(dict.fromkeys(scopes))
        self.total += total


async def preview(parts: Parts, budget_id: str, after: Budget | None, now_ms: int) -> Preview:
    """What it would do to have this budget under the id; None: to have none."""
    book = parts.live.book()
    before = next((budget for budget in book if budget.id == budget_id), None)
    changed = book.replacing(budget_id, after)
    found = _Candidates()
    for one, other in _pairs(before, after):
        await _gather(parts, one, other, found, now_ms)
    scopes = list(found.scopes)[:SCOPES_MAX]
    if len(found.scopes) > len(scopes) or found.total > len(found.scopes):
        total = max(found.total, len(found.scopes))
        found.reasons.append(f"Of {total:,} only the {len(scopes):,} that spent the most were decided one by one.")
    wanted = [
        Wanted(budget, scope)
        for scope in scopes
        for budget in {b.id: b for b in (*book.for_scope(scope), *changed.for_scope(scope))}.values()
    ]
    sums = await budget_sums(parts.live, parts.numbers, wanted, now_ms)
    unknown = {one.scope for one in wanted if sums.value(*one) is None}
    known = [scope for scope in scopes if scope not in unknown]
    if len(known) < len(scopes):
        found.reasons.append("What some of them have spent is not known now.")
    stop = _stop(parts)
    effects = [_effect(scope, book, changed, sums, stop) for scope in known]
    answer = _answer(effects, found, before, after)
    if stop is not None and stop.stopped:
        answer.sentence += " All spending is stopped by hand until somebody resumes it."
    return answer


def _pairs(before: Budget | None, after: Budget | None) -> list[tuple[Budget | None, Budget | None]]:
    """The two as one pair when they limit the same; else each by itself, because their values cannot be compared."""
    if before is None or after is None:
        return [(before, after)] if before is not None or after is not None else []
    if (before.scope, before.calendar, before.unit) == (after.scope, after.calendar, after.unit):
        return [(before, after)]
    return [(before, None), (None, after)]


async def _gather(parts: Parts, before: Budget | None, after: Budget | None, found: _Candidates, now_ms: int) -> None:
    budget = after or before
    assert budget is not None, "a pair holds a budget"
    if not is_pattern(budget.scope):
        found.add([budget.scope], 1)
        return
    # What is warned or blocked now is known at once; ClickHouse knows the others.
    flagged = sorted(scope for scope in parts.live.flag_scopes(now_ms) if matches(budget.scope, scope))
    spans: list[Span] = differing_spans(before, after)
    total = 0
    try:
        start_ms = window_start(budget.calendar, now_ms)
        near = await parts.numbers.near(budget.scope, budget.calendar, start_ms, budget.unit, spans, SCOPES_MAX)
        found.add(near.scopes, near.total)
        total = near.total
    except NumbersError as error:
        log.warning("a preview knows flags alone", error=str(error))
        found.reasons.append("ClickHouse cannot be asked now, so that only scopes with a flag were looked at.")
    if len(flagged) <= SCOPES_MAX and spans:
        more = [scope for scope in flagged if scope not in found.scopes]
        found.add(more, len(more) if total <= SCOPES_MAX else 0)


def _effect(scope: str, before: BudgetBook, after: BudgetBook, sums: BudgetSums, stop: Stop | None) -> Effect:
    def value_of(budget: Budget, _start_ms: int) -> int:
        value = sums.value(budget, scope)
        assert value is not None, "scopes of unknown spend are left out"
        return value

    return effect(scope, before, after, value_of, sums.now_ms, stop if scope == GLOBAL_SCOPE else None)


def _stop(parts: Parts) -> Stop | None:
    held = parts.control.get(SETTING_KEY_PREFIX + STOP_SETTING)
    return None if held is None else Stop.from_record(SettingRecord.model_validate(held.value))


def _answer(effects: Sequence[Effect], found: _Candidates, before: Budget | None, after: Budget | None) -> Preview:
    groups: dict[tuple[FlagState, FlagState], list[str]] = {}
    for one in effects:
        if one.is_change:
            groups.setdefault((one.before.state, one.after.state), []).append(one.scope)
    changes = [
        ScopesChanged(before=was, after=becomes, count=len(scopes), scopes=scopes[:NAMES_MAX])
        for (was, becomes), scopes in groups.items()
    ]
    blocks = any(one.after.blocks and not one.before.blocks for one in effects)
    stricter = any(one.is_change and one.is_stricter for one in effects)
    single = len(effects) == 1 and all(b is None or not is_pattern(b.scope) for b in (before, after))
    sentences = [_sentence(groups, effects[0] if single else None)]
    if found.reasons:
        sentences.append("This is an estimate. " + " ".join(found.reasons))
    return Preview(
        sentence=" ".join(sentences),
        level="over" if blocks else "warn" if stricter or found.reasons else "ok",
        changes=changes,
        estimate=bool(found.reasons),
        estimate_reason=" ".join(found.reasons) or None,
        before=_standing(effects[0].before) if single else None,
        after=_standing(effects[0].after) if single else None,
    )


def _standing(verdict: Verdict) -> StandingThen:
    shown = verdict.shown
    return StandingThen(
        state=verdict.state,
        budget=shown.budget.id if shown else None,
        limit=shown.budget.format(shown.budget.limit) if shown else None,
        unit=shown.budget.unit if shown else None,
        spent=shown.budget.format(shown.value) if shown else None,
        percent=shown.budget.percent(shown.value) if shown else None,
    )


def _sentence(groups: dict[tuple[FlagState, FlagState], list[str]], single: Effect | None) -> str:
    by_verb: dict[str, list[str]] = {}
    for (was, becomes), scopes in groups.items():
        by_verb.setdefault(_verb(was, becomes), []).extend(scopes)
    if not by_verb:
        if single is None:
            return "No flag changes."
        shown = single.after.shown
        where = f": {shown.budget.percent(shown.value)} % of the limit" if shown is not None else ""
        return f"{_name(single.scope)} stays {single.after.state.value}{where}."
    parts = [f"{verb} {_counted(scopes)}" for verb, scopes in sorted(by_verb.items(), key=lambda item: item[0])]
    return ". ".join(parts) + "."


def _verb(was: FlagState, becomes: FlagState) -> str:
    blocked = (FlagState.BLOCKED, FlagState.STOPPED)
    if becomes is FlagState.STOPPED:
        return "Stops"
    if was in blocked:
        return "Unblocks" if becomes not in blocked else "Blocks, no longer stops,"
    if becomes is FlagState.BLOCKED:
        return "Blocks"
    return "Warns" if becomes is FlagState.WARNING else "Ends the warning of"


def _counted(scopes: Sequence[str]) -> str:
    """`3 users: u-1, u-2 and u-3`; of more than three `5 users, among them u-1, u-2 and u-3`; a single one by name."""
    if len(scopes) == 1:
        return _name(scopes[0])
    dimension = scopes[0].partition("/")[0]
    kind = f"{dimension}s" if all(scope.startswith(f"{dimension}/") for scope in scopes) else "scopes"
    names = [_name(scope.partition("/")[2] or scope) for scope in scopes[:_NAMES_IN_SENTENCE]]
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{len(scopes):,} {kind}" + (f": {listed}" if len(scopes) <= len(names) else f", among them {listed}")


def _name(text: str) -> str:
    """A name of others in a sentence: on one line, not reordered, and not too long."""
    shown = safe(text)
    return shown if len(shown) <= _NAME_CHARS_MAX else f"{shown[: _NAME_CHARS_MAX - 1]}…"
