"""May this call go ahead? The contract's rules for readers of flags, without any I/O."""

from collections.abc import Collection, Iterable, Set
from dataclasses import dataclass
from typing import Final

from tollgate.schemas.instants import parse_instant
from tollgate.schemas.outputs import Flag, FlagState
from tollgate.sdk.call_scopes import names_in

_STRICTNESS: Final = {FlagState.OK: 0, FlagState.WARNING: 1, FlagState.BLOCKED: 2, FlagState.STOPPED: 3}
# By a flag's `reason`; whatever else blocks is a limit of a user or scope.
_HTTP_STATUS: Final = {"usage_limit_exceeded": 429, "spending_stopped": 503}
_LIMIT_EXCEEDED: Final = "usage_limit_exceeded"
LIMITS_UNKNOWN: Final = "limits_unknown"
"""The error of a call that is refused because nothing is known, not because a limit is reached; status 503."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer for one call.

    `state` is the strictest of its scopes' states. When the call is blocked, `http_status` and `error` are what to
    answer (429 `usage_limit_exceeded`, 503 `spending_stopped` or `limits_unknown`); else they are None. `scope` and
    `flag` are those that decided, None when no scope has a flag in force. `flag.action` is `downgrade` where a cheaper
    model is due.
    """

    allowed: bool
    state: FlagState
    http_status: int | None = None
    error: str | None = None
    scope: str | None = None
    flag: Flag | None = None


ALLOWED: Final = Decision(allowed=True, state=FlagState.OK)


@dataclass(frozen=True, slots=True)
class HeldFlag:
    """A flag with its end in milliseconds. In force in `[since, until)`; without `until` for good.

    `excepts` has, for each scope that the flag leaves alone, the single scopes that it is made of.
    """

    flag: Flag
    until_ms: int | None
    excepts: tuple[frozenset[str], ...] = ()

    @classmethod
    def of(cls, flag: Flag) -> "HeldFlag":
        """Parse the end and the exceptions once."""
        until_ms = None if flag.until is None else parse_instant(flag.until)
        return cls(flag, until_ms, tuple(filter(None, map(_excepted, flag.except_ or ()))))

    @classmethod
    def read(cls, value: bytes) -> "HeldFlag":
        """From a record of the flags topic. ValueError when it is no flag, or its end is no instant."""
        return cls.of(Flag.model_validate_json(value))

    def in_force(self, now_ms: int) -> bool:
        """Whether the flag says anything at this instant: at `until` exactly it does not any more."""
        return self.flag.state is not FlagState.OK and (self.until_ms is None or now_ms < self.until_ms)

    def leaves_alone(self, singles: Set[str]) -> bool:
        """Whether the flag says nothing about a call that has these single scopes (`provider/groq`, `user/u1`)."""
        return bool(self.excepts) and any(excepted <= singles for excepted in self.excepts)


def decide(flags: Iterable[HeldFlag], now_ms: int, singles: Collection[str] = ()) -> Decision:
    """The decision for a call whose scopes have these flags; `singles` are its single scopes.

    Of several that block, a company-wide stop comes first, then the strictest state, then the one that lasts longest.
    A flag that leaves the call alone neither blocks it nor warns.
    """
    in_force = [held for held in flags if held.in_force(now_ms)]
    if not in_force:
        return ALLOWED
    names = frozenset(singles)
    found = max((held for held in in_force if not held.leaves_alone(names)), key=_rank, default=None)
    if found is None:
        return ALLOWED
    flag = found.flag
    if not flag.blocked:
        return Decision(allowed=True, state=flag.state, scope=flag.scope, flag=flag)
    error = flag.reason if flag.reason in _HTTP_STATUS else _LIMIT_EXCEEDED
    return Decision(False, flag.state, _HTTP_STATUS[error], error, flag.scope, flag)


def _excepted(scope: str) -> frozenset[str]:
    try:
        return frozenset(names_in(scope))
    except ValueError:
        # A block that excepts what no call is blocks all the same.
        return frozenset()


def denied_as_unknown() -> Decision:
    """The decision for a call that must not go ahead while nothing is known of its limits."""
    return Decision(allowed=False, state=FlagState.BLOCKED, http_status=503, error=LIMITS_UNKNOWN)


def _rank(held: HeldFlag) -> tuple[bool, bool, int, float]:
    flag = held.flag
    lasts = float("inf") if held.until_ms is None else held.until_ms
    return flag.blocked, flag.reason == "spending_stopped", _STRICTNESS[flag.state], lasts
