"""What a service knows of limits, in memory: the flags, and of budgets what matters while flags are not known."""

import logging
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final, Literal

from tollgate.schemas.amounts import parse_usd
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.sdk.call_scopes import KnownShapes, singles_of
from tollgate.sdk.decision import Decision, HeldFlag, decide, denied_as_unknown, denied_by_estimate, would_pass
from tollgate.sdk.known_budgets import KnownBudgets

log = logging.getLogger("tollgate.sdk")

KNOWLEDGE_SECONDS_MAX: Final = 60.0
"""Budgets bound the spend of hours and longer; a reader is told of every change within a second."""

WhenUnknown = Literal["open", "closed"]


def wall_ms() -> int:
    """This host's clock, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """A clock that nobody sets, in milliseconds."""
    return time.monotonic_ns() // 1_000_000


class Knowledge:
    """Decides from memory, in microseconds, whatever number of flags there is. It never does any I/O.

    One thread writes (`take_flag`, `take_control`, `seen`), and any thread may ask meanwhile: what is replaced is
    replaced as a whole. `now_ms` is compared with the ends of flags, `clock_ms` measures the age of the knowledge.
    """

    def __init__(
        self,
        *,
        when_unknown: WhenUnknown = "open",
        knowledge_seconds_max: float = KNOWLEDGE_SECONDS_MAX,
        now_ms: Callable[[], int] = wall_ms,
        clock_ms: Callable[[], int] = steady_ms,
    ) -> None:
        if when_unknown not in ("open", "closed"):
            raise TypeError(f"when_unknown is open or closed, not {when_unknown!r}")
        self._when_unknown = when_unknown
        self._knowledge_ms_max = knowledge_seconds_max * 1000
        self._now_ms = now_ms
        self._clock_ms = clock_ms
        self._known_at_ms: int | None = None
        self._flags: dict[str, HeldFlag] = {}
        self._shapes = KnownShapes()
        self._budgets = KnownBudgets()

    def __len__(self) -> int:
        """How many flags are held."""
        return len(self._flags)

    @property
    def age_ms(self) -> int | None:
        """How long ago everything that was written was known; None when that was never so."""
        known_at_ms = self._known_at_ms
        return None if known_at_ms is None else max(0, self._clock_ms() - known_at_ms)

    def seen(self, ago_ms: int = 0) -> None:
        """Everything that was written up to so long ago is known."""
        at_ms = self._clock_ms() - max(0, ago_ms)
        if self._known_at_ms is None or at_ms > self._known_at_ms:
            self._known_at_ms = at_ms

    def check(self, call: Mapping[str, object], estimate_usd: str | Decimal | None = None) -> Decision:
        """May a call with these names by dimension go ahead? `check({"user": "u-42", "model": "gpt-4o"})`.

        `global` always counts, and so do combinations that have a flag. With an estimate a call is denied as well when
        it would take what is spent and reserved above a limit that blocks, as far as a flag tells it. A known block
        holds however old the knowledge is. TypeError for a name that is no dimension, and an estimate that is no
        amount of dollars.
        """
        estimate = None if estimate_usd is None else picousd_of(estimate_usd, "estimate_usd")
        singles = singles_of(call)
        get, now_ms, age_ms = self._flags.get, self._now_ms(), self.age_ms
        found = [held for scope in self._shapes.scopes_of(singles) if (held := get(scope)) is not None]
        decision = decide(found, now_ms, singles.values(), age_ms)
        if not decision.allowed:
            return decision
        if estimate is not None:
            denied = self._by_estimate(found, singles, estimate, str(estimate_usd), now_ms, age_ms)
            if denied is not None:
                return denied
        if (age_ms is None or age_ms > self._knowledge_ms_max) and self.fails_closed(singles):
            return denied_as_unknown(age_ms)
        return decision

    def fails_closed(self, singles: Mapping[str, str]) -> bool:
        """Whether a call with these single scopes by dimension must not go ahead while nothing is known."""
        return self._when_unknown == "closed" or self._budgets.covering(singles, self._now_ms()) is not None

    def flag(self, scope: str) -> HeldFlag | None:
        """The scope's flag as last written, even when it is `ok` or its time is past; None when there is none."""
        return self._flags.get(scope)

    def in_force(self) -> list[HeldFlag]:
        """Every flag that warns or blocks now, by scope."""
        now_ms = self._now_ms()
        # Copied at once: another thread may add flags meanwhile.
        return [held for _, held in sorted(self._flags.copy().items()) if held.in_force(now_ms)]

    def take_flag(self, scope: str, value: bytes | None) -> HeldFlag | None:
        """Take in one record of the flags topic, and return its flag when it is the scope's now.

        Null removes the flag; an older revision than the one held is ignored, and so is what is no flag.
        """
        if value is None:
            self._drop(scope)
            return None
        try:
            taken = read_record(HeldFlag.read, value)
        except UnreadableError as error:
            log.warning("ignored a record of the flags topic that is no flag: %s", error)
            return None
        return self.keep(scope, taken)

    def keep(self, scope: str, taken: HeldFlag) -> HeldFlag | None:
        """As `take_flag`, of a flag that is read already."""
        held = self._flags.get(scope)
        if held is not None and held.revision > taken.revision:
            return None
        if held is None:
            self._shapes.add(scope)
        # The same text twice for each of a million flags would be 60 MB.
        self._flags[taken.scope if taken.scope == scope else scope] = taken
        return taken

    def keep_only(self, flags: Mapping[str, HeldFlag]) -> None:
        """These flags are all that there are; those held are not compared with them."""
        for scope in self._flags.keys() - flags.keys():
            self._drop(scope)
        for scope, taken in flags.items():
            if scope not in self._flags:
                self._shapes.add(scope)
            self._flags[scope] = taken

    def take_control(self, key: str, value: bytes | None) -> None:
        """Take in one record of the control topic: null removes what the key names."""
        self._budgets.take(key, value)

    def keep_only_budgets(self, records: Mapping[str, bytes]) -> None:
        """These records of the control topic are all that there are of budgets, by key."""
        budgets = KnownBudgets()
        for key, value in records.items():
            budgets.take(key, value)
        # At once: a call that is checked meanwhile must not find less than before and after.
        self._budgets = budgets

    def _drop(self, scope: str) -> None:
        if self._flags.pop(scope, None) is not None:
            self._shapes.remove(scope)

    def _by_estimate(
        self,
        found: list[HeldFlag],
        singles: Mapping[str, str],
        estimate: int,
        told: str,
        now_ms: int,
        age_ms: int | None,
    ) -> Decision | None:
        denied = None
        names = frozenset(singles.values())
        for held in found:
            kind = held.kind
            # A flag that is ok again may still know what was spent in its window.
            lasts = kind.until_ms is None or now_ms < kind.until_ms
            if kind.unit != "usd" or not lasts or held.leaves_alone(names):
                continue
            numbers = held.numbers
            blocks_at = self._budgets.blocks_at(numbers.budget or "")
            # As of flags: the company first, then what lasts longest.
            if (
                blocks_at is not None
                and would_pass(numbers, estimate, blocks_at)
                and (denied is None or _lasts(held) > _lasts(denied))
            ):
                denied = held
        return None if denied is None else denied_by_estimate(denied, denied.numbers, told, now_ms, age_ms)


def picousd_of(given: str | Decimal, name: str) -> int:
    """An amount of dollars in 10⁻¹². TypeError that says what to write instead when it is none."""
    text = format(given, "f") if isinstance(given, Decimal) else given
    try:
        if isinstance(text, str):
            return parse_usd(text)
    except ValueError:
        pass
    shown = "a float" if isinstance(given, float) else repr(given)[:64]
    raise TypeError(f'{name} must be dollars as a decimal in text, such as "0.02", or a Decimal of it; not {shown}')


def _lasts(held: HeldFlag) -> tuple[bool, float]:
    until_ms = held.kind.until_ms
    return held.scope == "global", float("inf") if until_ms is None else until_ms
