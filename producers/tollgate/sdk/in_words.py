"""Flags and decisions in words for people. The SDK, the REST API and the pages all use these."""

from typing import Final, Protocol

# The end of a lifetime: nobody waits for it.
_NEVER: Final = "9999-12-31T23:59:59Z"


class _HasKind(Protocol):
    @property
    def kind(self) -> str: ...


class Told(Protocol):
    """A flag as these words need it: a model of the flags topic, or one that is kept in a compact form."""

    @property
    def scope(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def blocked(self) -> bool: ...
    @property
    def budget(self) -> str | None: ...
    @property
    def window(self) -> _HasKind | None: ...
    @property
    def limit(self) -> str | None: ...
    @property
    def unit(self) -> str | None: ...
    @property
    def spent(self) -> str | None: ...
    @property
    def until(self) -> str | None: ...
    @property
    def note(self) -> str | None: ...


def sentence(flag: Told) -> str:
    """`user/u-42 is blocked: 104.2 of 100 usd in this month`."""
    state = "has a warning" if not flag.blocked else f"is {flag.state!s}"
    if flag.note is not None and flag.budget is not None:
        # That of a plan limit has the numbers, and says what to do. Why all is stopped has a place of its own.
        return f"{flag.scope} {state}: {flag.note}"
    numbers = ""
    if flag.spent is not None and flag.limit is not None:
        window = f" in this {flag.window.kind!s}" if flag.window is not None else ""
        numbers = f": {flag.spent} of {flag.limit} {flag.unit}{window}"
    return f"{flag.scope} {state}{numbers}"


def message(flag: Told) -> str:
    """The same, with what to do about a block: `…; wait until 2026-12-01T00:00:00Z, or have monthly-user raised.`"""
    if not flag.blocked or (flag.note is not None and flag.budget is not None):
        return f"{sentence(flag)}."
    advice = _what_to_do(flag.until, flag.budget)
    return f"{sentence(flag)}; {advice}." if advice else f"{sentence(flag)}."


def _what_to_do(until: str | None, budget: str | None) -> str:
    """`wait until 2026-12-01T00:00:00Z, or have monthly-user raised`, as far as both are known."""
    ways = [
        *([f"wait until {until}"] if until is not None and until != _NEVER else []),
        *([f"have {budget} raised"] if budget is not None else []),
    ]
    # Only a stop by hand has neither a budget nor an end.
    return ", or ".join(ways) or ("wait until spending is resumed" if until is None else "")


def too_much(estimate: str, scope: str, window: str | None, numbers: str | None) -> str:
    """`0.51 usd more would pass the month limit of user/u-42: 99.5 of 100 usd, 99.50 %.`"""
    kind = f"{window} " if window else ""
    return f"{estimate} usd more would pass the {kind}limit of {scope}{f': {numbers}' if numbers else ''}."


UNKNOWN: Final = "Limits are not known now, and this call may not go ahead without them; try again."
"""Of a call that is refused because nothing is known."""
