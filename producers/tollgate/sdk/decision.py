"""May this call go ahead? The contract's rules for readers of flags, without any I/O."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from tollgate.schemas.amounts import NANO, PICO
from tollgate.schemas.output_words import Action, FlagState
from tollgate.schemas.scopes import GLOBAL_SCOPE
from tollgate.sdk.held_flag import FlagNumbers, FlagWindow, HeldFlag
from tollgate.sdk.in_words import UNKNOWN, message, too_much

if TYPE_CHECKING:
    from tollgate.schemas.outputs import Flag

__all__ = ["ALLOWED", "LIMITS_UNKNOWN", "Decision", "HeldFlag", "decide", "denied_as_unknown", "denied_by_estimate"]

# By a flag's `reason`; whatever else blocks is a limit of a user or scope.
_HTTP_STATUS: Final = {"usage_limit_exceeded": 429, "spending_stopped": 503}
_LIMIT_EXCEEDED: Final = "usage_limit_exceeded"
_STOPPED: Final = "spending_stopped"
LIMITS_UNKNOWN: Final = "limits_unknown"
"""The error of a call that is refused because nothing is known, not because a limit is reached; status 503."""
# A lifetime does not end; no wait ends after the year 3000 either.
_WAIT_UNTIL_MS_MAX: Final = 32_503_680_000_000


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The answer for one call.

    `state` is the strictest of its scopes' states. When the call is denied, `http_status` and `error` are what to
    answer (429 `usage_limit_exceeded`, 503 `spending_stopped` or `limits_unknown`), and `message` is one sentence for
    people; else the first two are None. `scope`, `budget`, `limit`, `spent`, `unit` and `until` say what decided: of a
    call that is allowed, the warning; None when no scope has a flag in force. `action` is `downgrade` where a cheaper
    model is due. `retry_after_seconds` is None when waiting does not help.

    `knowledge_age_ms` is how long ago limits were last heard of, None when never.
    """

    allowed: bool
    state: FlagState
    http_status: int | None = None
    error: str | None = None
    scope: str | None = None
    held: HeldFlag | None = None
    """The flag that decided, as it is kept. `flag` is the same as a model."""
    message: str = "Within budget."
    budget: str | None = None
    limit: str | None = None
    spent: str | None = None
    unit: str | None = None
    until: str | None = None
    action: Action | None = None
    retry_after_seconds: int | None = None
    knowledge_age_ms: int | None = None

    @property
    def flag(self) -> "Flag | None":
        """The flag that decided, as a model; None when no scope has a flag in force."""
        return None if self.held is None else self.held.flag


ALLOWED: Final = Decision(allowed=True, state=FlagState.OK)


class _Told(msgspec.Struct, frozen=True, gc=False):
    """A flag as `in_words` needs it."""

    scope: str
    state: FlagState
    blocked: bool
    budget: str | None
    window: FlagWindow | None
    limit: str | None
    unit: str | None
    spent: str | None
    until: str | None
    note: str | None


def decide(
    flags: Iterable[HeldFlag], now_ms: int, singles: Collection[str] = (), knowledge_age_ms: int | None = None
) -> Decision:
    """The decision for a call whose scopes have these flags; `singles` are its single scopes.

    Of several that block, a company-wide stop comes first, then the strictest state, then the one that lasts longest.
    A flag that leaves the call alone neither blocks it nor warns.
    """
    found = None
    for held in flags:
        if (
            held.in_force(now_ms)
            and (found is None or held.kind.rank > found.kind.rank)
            and not (held.kind.excepts and held.leaves_alone(frozenset(singles)))
        ):
            found = held
    if found is None:
        return Decision(True, FlagState.OK, knowledge_age_ms=knowledge_age_ms)
    kind, numbers = found.kind, found.numbers
    error = None
    if kind.blocked:
        error = kind.reason if kind.reason in _HTTP_STATUS else _LIMIT_EXCEEDED
    return Decision(
        not kind.blocked,
        kind.state,
        _HTTP_STATUS[error] if error else None,
        error,
        found.scope,
        found,
        message(
            _Told(
                found.scope,
                kind.state,
                kind.blocked,
                numbers.budget,
                kind.window,
                numbers.limit,
                kind.unit,
                numbers.spent,
                kind.until,
                numbers.note,
            )
        ),
        numbers.budget,
        numbers.limit,
        numbers.spent,
        kind.unit,
        kind.until,
        kind.action,
        _wait(kind.until_ms, now_ms) if error else None,
        knowledge_age_ms,
    )


def denied_by_estimate(
    held: HeldFlag, numbers: FlagNumbers, estimate: str, now_ms: int, knowledge_age_ms: int | None
) -> Decision:
    """The decision for a call whose estimate would pass the limit of this flag; of the whole company's it is a stop."""
    kind, is_stop = held.kind, held.scope == GLOBAL_SCOPE
    window = None if kind.window is None else kind.window.kind.value
    shown = f"{numbers.spent} of {numbers.limit} {kind.unit}, {numbers.percent} %" if numbers.percent else None
    return Decision(
        False,
        FlagState.BLOCKED,
        503 if is_stop else 429,
        _STOPPED if is_stop else _LIMIT_EXCEEDED,
        held.scope,
        held,
        too_much(estimate, held.scope, window, shown),
        numbers.budget,
        numbers.limit,
        numbers.spent,
        kind.unit,
        kind.until,
        Action.STOP if is_stop else Action.BLOCK,
        _wait(kind.until_ms, now_ms),
        knowledge_age_ms,
    )


def would_pass(numbers: FlagNumbers, estimate_picousd: int, blocks_at_percent_nano: int) -> bool:
    """Whether spent + reserved + the estimate is above what the budget of a flag in dollars allows.

    `blocks_at_percent_nano`: at which share of its limit the budget blocks, 100 × 10⁹ for 100 %. Reaching it exactly
    is allowed: with a limit of 100 and 99.5 spent, 0.5 more is allowed and 0.51 is not.
    """
    if numbers.limit is None or numbers.spent is None:
        return False
    taken = _picousd(numbers.spent) + (_picousd(numbers.reserved) if numbers.reserved else 0)
    return (taken + estimate_picousd) * 100 * NANO > blocks_at_percent_nano * _picousd(numbers.limit)


def denied_as_unknown(knowledge_age_ms: int | None = None) -> Decision:
    """The decision for a call that must not go ahead while nothing is known of its limits."""
    return Decision(False, FlagState.BLOCKED, 503, LIMITS_UNKNOWN, message=UNKNOWN, knowledge_age_ms=knowledge_age_ms)


def _picousd(text: str) -> int:
    """A sum of a flag in 10⁻¹² USD. It may be larger than any event, and below zero after corrections."""
    whole, _, fraction = text.lstrip("-").partition(".")
    amount = int(whole) * PICO + int(fraction.ljust(12, "0"))
    return -amount if text.startswith("-") else amount


def _wait(until_ms: int | None, now_ms: int) -> int | None:
    """Whole seconds until the end, rounded up; None when there is none worth waiting for."""
    if until_ms is None or until_ms > _WAIT_UNTIL_MS_MAX:
        return None
    return max(0, -((now_ms - until_ms) // 1000))
