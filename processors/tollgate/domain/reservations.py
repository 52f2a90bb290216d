"""Reservations: whether one is granted, what stands in its way, and what open ones hold. Pure.

A reservation is granted when the user's limits and credits hold what was spent, what is reserved, and what it asks
for. It ends by usage that settles it, by a release, or by itself at `expires_ms`; what it held is free again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from tollgate.domain.budgets import NO_END_MS, Position
from tollgate.schemas.amounts import NANO, format_amount, format_usd
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import DecisionError, FlagState
from tollgate.schemas.outputs_codec import DecisionRecord

# Open reservations of one user. More would be a caller that reserves and never calls.
OPEN_MAX: Final = 10_000

# Usage may be read before the reservation that it settles: its producer wrote to Kafka first. It is kept this long.
EARLY_MS: Final = 60 * 60 * 1000

_BLOCKING: Final = (FlagState.BLOCKED, FlagState.STOPPED)


@dataclass(frozen=True, slots=True)
class Request:
    """What a reservation asks for: money in 10⁻¹² USD, credits in 10⁻⁹. `names`: the call's names by
    dimension, the user aside."""

    source: str
    id: str
    user: str
    picousd: int
    credits_nano: int
    names: dict[str, str]
    expires_ms: int


class Open(msgspec.Struct, array_like=True, tag="o"):
    """A reservation that is open: what is left of it, and its decision as it was written."""

    left_picousd: int
    left_nano: int
    expires_ms: int
    names: dict[str, str]
    decision: msgspec.Raw


class Early(msgspec.Struct, array_like=True, tag="e"):
    """What usage took from a reservation that is not read yet, until when it is kept, and whether it has ended."""

    used_picousd: int
    used_nano: int
    closed: bool
    expires_ms: int


@dataclass(slots=True)
class Reserved:
    """What open reservations hold: money in 10⁻¹² USD, credits in 10⁻⁹, and how many reservations there are."""

    picousd: int = 0
    credits_nano: int = 0
    count: int = 0

    def add(self, picousd: int, credits_nano: int, count: int) -> None:
        """Hold so much more; less when negative."""
        self.picousd += picousd
        self.credits_nano += credits_nano
        self.count += count

    def of(self, unit: str) -> int:
        """In the unit of a budget, as `Budget.measure` has it. Nothing is reserved of a usage dimension."""
        if unit == "usd":
            return self.picousd
        if unit == "credits":
            return self.credits_nano
        return self.count * NANO if unit == "events" else 0


NOTHING_RESERVED: Final = Reserved()


@dataclass(frozen=True, slots=True)
class Blocked:
    """The latest flag of a shared scope, where it is blocked or stopped. Amounts are as the flag writes them.

    `until_ms`: from this instant on it blocks nothing. `except_`: scopes of calls that it leaves alone.
    """

    scope: str
    reason: str
    budget: str | None = None
    limit: str | None = None
    unit: str | None = None
    spent: str | None = None
    until_ms: int | None = None
    note: str | None = None
    except_: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Denial:
    """What stands in the way; the fields of `outputs.Decision`."""

    http_status: int
    error: DecisionError
    message: str
    scope: str | UnsetType = UNSET
    budget: str | UnsetType = UNSET
    limit: str | UnsetType = UNSET
    unit: str | UnsetType = UNSET
    spent: str | UnsetType = UNSET
    reserved: str | UnsetType = UNSET
    available: str | UnsetType = UNSET
    until_ms: int | None = None


ENDED: Final = Denial(
    409,
    DecisionError.RESERVATION_ENDED,
    "This reservation was denied before or has ended: reserve again under another id.",
)
CONFLICT: Final = Denial(
    409,
    DecisionError.RESERVATION_CONFLICT,
    "Another reservation has this id, with other data or for another user: reserve again under another id.",
)
CROWDED: Final = Denial(
    429,
    DecisionError.TOO_MANY_RESERVATIONS,
    f"The user has {OPEN_MAX:,} open reservations: settle or release some, or let them expire.",
)


def limits(position: Position) -> bool:
    """Whether the budget blocks at some level, and not merely alerts."""
    return any(threshold.state in _BLOCKING for threshold in position.budget.thresholds)


def in_the_way(position: Position, scope: str, reserved: Reserved, request: Request) -> Denial | None:
    """Why this limit does not allow the reservation, if it does not: spent + reserved + asked for is above it.

    A limit that blocks already allows nothing. Of a usage dimension nothing can be reserved, so a limit on it is in the
    way when it is reached.
    """
    budget = position.budget
    unit = budget.unit
    spent, held = position.value, reserved.of(unit)
    asked = Reserved(request.picousd, request.credits_nano, 1).of(unit)
    is_measured = unit in ("usd", "credits", "events")
    is_full = spent + held + asked > budget.limit if is_measured else spent >= budget.limit
    if not (position.blocks or is_full):
        return None
    available = max(0, budget.limit - spent - held)
    written = budget.format
    lead = f"{scope} has {written(available)} of {written(budget.limit)} {_shown(unit)} left"
    numbers = f"{written(spent)} spent, {written(held)} reserved"
    wants = f"; {written(asked)} asked for" if is_measured else ""
    whose = f", the limit of plan {budget.plan}" if budget.plan else ""
    # More than the whole limit is granted at no time.
    wait = "ask for less" if is_measured and asked > budget.limit else _wait(position.until_ms)
    raised = "change to a larger plan" if budget.plan else f"have {budget.id} raised"
    message = f"{lead} ({numbers}{wants}){whose}: {_either(wait, raised)}."
    return Denial(
        429,
        DecisionError.USAGE_LIMIT_EXCEEDED,
        message,
        scope,
        budget.id,
        written(budget.limit),
        unit,
        written(spent),
        written(held),
        written(available),
        position.until_ms,
    )


def _wait(until_ms: int | None) -> str:
    """Empty for a block without an end, as that of a lifetime."""
    return f"wait until {format_instant(until_ms)}" if until_ms is not None and until_ms != NO_END_MS else ""


def _either(*ways: str) -> str:
    return ", or ".join(filter(None, ways))


def blocked_by(flag: Blocked, is_global: bool) -> Denial:
    """A denial by a shared scope's flag. Of the scope of the whole company it is a stop."""
    raised = f"have {flag.budget} raised" if flag.budget is not None else ""
    # Only a stop by hand has neither a budget nor an end.
    what = _either(_wait(flag.until_ms), raised) or "wait until spending is resumed"
    if is_global:
        message = f"{flag.note or 'All spending is stopped'}: {what}."
    else:
        numbers = f" ({flag.spent} of {flag.limit} {_shown(flag.unit or '')} spent)" if flag.spent else ""
        message = f"{flag.scope} is blocked{numbers}: {what}."
    return Denial(
        503 if is_global else 429,
        DecisionError.SPENDING_STOPPED if is_global else DecisionError.USAGE_LIMIT_EXCEEDED,
        message,
        flag.scope,
        budget=_given(flag.budget),
        limit=_given(flag.limit),
        unit=_given(flag.unit),
        spent=_given(flag.spent),
        until_ms=flag.until_ms,
    )


def _given(text: str | None) -> str | UnsetType:
    return UNSET if text is None else text


def lacks_credits(
    request: Request, available_nano: int, reserved_nano: int, free_per_day_nano: int = 0
) -> Denial | None:
    """A denial when the user's credits do not suffice. `available_nano` is what is left beside open reservations.

    While a balance is below zero nothing is granted, whatever is asked for.
    """
    asked_nano = request.credits_nano
    if available_nano >= 0 and asked_nano <= available_nano:
        return None
    balance = f"{'owes' if available_nano < 0 else 'has'} {format_amount(abs(available_nano))} credits"
    wants = f", and {format_amount(asked_nano)} are asked for" if asked_nano else ""
    # Free credits do not add up: those of a later day help with no more than they are.
    can_wait = free_per_day_nano > 0 and asked_nano <= max(0, available_nano) + free_per_day_nano
    return Denial(
        402,
        DecisionError.INSUFFICIENT_CREDITS,
        f"user/{request.user} {balance}{wants}: {_either('buy credits', 'wait for free ones' if can_wait else '')}.",
        f"user/{request.user}",
        unit="credits",
        reserved=format_amount(reserved_nano),
        available=format_amount(max(0, available_nano)),
    )


def first_of(denials: Iterable[Denial]) -> Denial | None:
    """Which of several is told: a stop before a limit before credits, and of equals the first."""
    order = (503, 429, 402)
    return min(denials, key=lambda denial: order.index(denial.http_status), default=None)


def decision_of(request: Request, denial: Denial | None, now_ms: int) -> DecisionRecord:
    """The answer as it is written."""
    if denial is None:
        denial_fields = {}
    else:
        denial_fields = {
            "http_status": denial.http_status,
            "error": denial.error,
            "scope": denial.scope,
            "budget": denial.budget,
            "limit": denial.limit,
            "unit": denial.unit,
            "spent": denial.spent,
            "reserved": denial.reserved,
            "available": denial.available,
            "until": format_instant(denial.until_ms) if denial.until_ms is not None else UNSET,
            "message": denial.message,
        }
    return DecisionRecord(
        reservation_id=request.id,
        source=request.source,
        user=request.user,
        granted=denial is None,
        amount_usd=format_usd(request.picousd),
        credits=format_amount(request.credits_nano),
        expires_at=format_instant(request.expires_ms),
        decided_at=format_instant(now_ms),
        **denial_fields,  # type: ignore[arg-type] # the names of the record's own fields
    )


def settle(held: Open | Early, picousd: int, credits_nano: int) -> None:
    """Take from the reservation what a call cost: never more than is left, so that another one's money stays held."""
    if isinstance(held, Open):
        held.left_picousd = max(0, held.left_picousd - picousd)
        held.left_nano = max(0, held.left_nano - credits_nano)
    else:
        held.used_picousd += picousd
        held.used_nano += credits_nano


def can_exceed_by(spent: int, reserved: int, limit: int) -> int:
    """By how much calls that are reserved and cost no more than that can take a scope over its limit; 0 for not at all.

    It is above 0 only where usage that nobody had reserved came after the grants, or the limit was lowered.
    """
    return max(0, spent + reserved - limit)


def _shown(unit: str) -> str:
    return "USD" if unit == "usd" else unit
