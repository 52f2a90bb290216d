"""Checks the flags topic: each flag must follow from the budgets, the stop, and the spend in the worker's state."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.vocabulary import GLOBAL_SCOPE
from tollgate.verification.calendar import instant, milliseconds, text
from tollgate.verification.limits import Limit, Limits, is_beyond
from tollgate.verification.meters import Meters
from tollgate.verification.names import DIMENSIONS, names_of, owner_of, user_of
from tollgate.verification.report import Check
from tollgate.verification.stop import flag_of_stop
from tollgate.verification.sums import AMOUNT_DECIMALS, Sum, plain
from tollgate.verification.view import View
from tollgate.verification.zones import end_in, read_calendar, start_in

Flag = dict[str, Any]

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
# The state that an action means for services, and how strict it is.
_STATE_OF: Final = {"alert": "warning", "downgrade": "warning", "block": "blocked", "stop": "stopped"}
_STRICTNESS: Final = ("alert", "downgrade", "block", "stop")
_NAMES_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Standing:
    """One limit of a scope: how much of it is used in the window of the moment, and which action is due, if any."""

    limit: Limit
    window: tuple[datetime, datetime]
    used: int
    action: str | None

    @property
    def blocks(self) -> bool:
        return self.action in ("block", "stop")


def stand(limit: Limit, scope: str, windows: dict[str, Sum], now: datetime) -> Standing:
    """How much of the limit is spent now. At exactly 80 % of the limit, a threshold of 80 % is reached."""
    start = start_in(limit.calendar, now)
    spent = windows.get(f"{scope}|{limit.calendar}|{text(start)}", Sum())
    if limit.unit == "usd":
        used = spent.cost_picousd
    elif limit.unit == "events":
        used = spent.events * 10**AMOUNT_DECIMALS
    else:
        used = spent.usage_nano.get(limit.unit, 0)
    # The strictest of all that are reached: spending more lifts no block.
    reached = [action for percent, action in limit.levels if used * 100 * 10**9 >= percent * limit.limit]
    action = max(reached, key=_STRICTNESS.index, default=None)
    return Standing(limit, (start, end_in(limit.calendar, start)), used, action)


def expected_flags(scope: str, limits: Iterable[Limit], windows: dict[str, Sum], now: datetime) -> list[Flag]:
    """What the scope's flag must say by the limits on it; several when limits are equally bad and any of them may be
    shown.
    """
    standings = [stand(limit, scope, windows, now) for limit in limits]
    due = [s.action for s in standings if s.action is not None]
    if not due:
        return [{"state": "ok", "blocked": False}]
    action = max(due, key=_STRICTNESS.index)
    state = _STATE_OF[action]
    worst = max(map(_rank, standings))
    blocked = state in ("blocked", "stopped")
    told = [s.limit.except_ for s in standings if s.action is not None and (s.blocks or not blocked)]
    return [
        {"state": state, "blocked": blocked, "action": action, "except": _left_alone(told)} | _numbers(s)
        for s in standings
        if _rank(s) == worst
    ]


def _left_alone(excepts: list[tuple[str, ...]]) -> list[str]:
    """The scopes of the calls that every limit leaves alone. Where one excepts a model and another one a feature, these
    are calls with both names; a scope has at most three.
    """
    if all(scopes == excepts[0] for scopes in excepts):
        return sorted(excepts[0])
    calls: list[dict[str, str]] = [{}]
    for scopes in excepts:
        joined = [call | dict(names_of(scope)) for call in calls for scope in scopes if _is_possible(call, scope)]
        calls = [call for n, call in enumerate(joined) if len(call) <= _NAMES_MAX and call not in joined[:n]]
    fewest = [call for call in calls if not any(other.items() < call.items() for other in calls)]
    return sorted("+".join(f"{name}/{call[name]}" for name in DIMENSIONS if name in call) for call in fewest)


def _is_possible(call: dict[str, str], scope: str) -> bool:
    """Whether a call with these names can have those of the scope too."""
    return all(call.get(dimension, name) == name for dimension, name in names_of(scope))


def _rank(s: Standing) -> tuple[bool, int, int, int]:
    """What a flag shows: of blocking budgets the one that lasts longest, else the strictest, else the fullest."""
    end_ms = milliseconds(s.window[1])
    until = min(end_ms, s.limit.to_ms or end_ms) if s.blocks else 0
    return s.blocks, until, _STRICTNESS.index(s.action) if s.action else -1, s.used * 10_000 // s.limit.limit


def _numbers(s: Standing) -> Flag:
    start, end = s.window
    limit = s.limit
    # A limit that ends before its window limits no longer than it holds.
    until = end if limit.to_ms is None else min(end, instant(limit.to_ms))
    hundredths = s.used * 10_000 // limit.limit
    calendar = read_calendar(limit.calendar)
    return {
        "budget": limit.id,
        "window": {"kind": calendar.kind, "start": text(start), "end": text(end), "timezone": calendar.zone},
        "limit": plain(limit.limit, limit.decimals),
        "unit": limit.unit,
        "spent": plain(s.used, limit.decimals),
        "percent": f"{hundredths // 100}.{hundredths % 100:02d}",
        "until": _exact(until),
    }


def _exact(moment: datetime) -> str:
    """With its milliseconds, where it has some: a budget or a plan may end between two seconds."""
    ms = moment.microsecond // 1000
    return f"{text(moment)[:-1]}.{ms:03d}Z" if ms else text(moment)


def in_force(flag: Flag | None, now_ms: int) -> Flag:
    """The flag as a service reads it: none, or one past its `until`, is ok."""
    if flag is None or flag["state"] == "ok":
        return {"state": "ok", "blocked": bool(flag and flag["blocked"])}
    until = flag.get("until")
    if until is not None and milliseconds(datetime.fromisoformat(until)) <= now_ms:
        return {"state": "ok", "blocked": False}
    return flag


def said_by(value: bytes | None, now_ms: int) -> Flag:
    """A record of the flags topic as a service reads it now; None is no flag. UnreadableError."""
    return (
        read_record(lambda given: in_force(_decode(given), now_ms), value) if value is not None else in_force(None, 0)
    )


class FlagsCheck(Check):
    """Every scope with a limit or a flag says what its limits demand. A scope without a flag says ok.

    `stopped`: the sentence that `global` must say instead, while all spending is stopped by hand. `meters`: what they
    were when the state was read, and since; `homes` is the number of partitions of users.
    """

    def __init__(
        self, limits: Limits, stopped: str | None = None, meters: tuple[Meters, ...] = (), homes: int = 1
    ) -> None:
        super().__init__("flags")
        self._limits = limits
        self._stopped = stopped
        self._meters = meters
        self._homes = homes
        # Nobody may have spent anything, and no flag been written.
        self._missing: set[str] = {GLOBAL_SCOPE} if stopped is not None else set()
        self._raised = 0
        self._agreed = 0

    def compare(self, view: View, now_ms: int) -> None:
        """Look at a bucket of scopes. A scope that was spent in since the cut may say what holds after any of that."""
        windows: dict[str, list[str]] = {}
        for key in view.state.keys() | view.moved.keys():
            windows.setdefault(key.rsplit("|", 2)[0], []).append(key)
        for scope in windows.keys() | view.flags.keys():
            if scope in view.flags or self._limits.cover(scope):
                self._look(scope, view, windows.get(scope, []), now_ms)

    def finish(self) -> Check:
        """All scopes were shown."""
        for scope in self._missing:
            self._raised += 1
            self.differs(f"flag of {scope}", _shown(flag_of_stop(self._stopped or "")), "none")
        return self.shows(
            f"{self._raised} raised", f"{self._agreed} raised" if self.ok else f"{self.differences} wrong"
        )

    def _look(self, scope: str, view: View, windows: list[str], now_ms: int) -> None:
        self._missing.discard(scope)
        try:
            said = said_by(view.flags.get(scope), now_ms)
        except UnreadableError as error:
            self.differs(f"flag of {scope}", "a readable one", str(error))
            return
        now = instant(now_ms)
        limits = self._limits.of(scope, now_ms)
        first: Flag | None = None
        for version in view.versions(scope, windows):
            demanded = self._demanded(scope, limits, version, now)
            agreed = next((flag for flag in demanded if _agree(said, flag)), None)
            if agreed is not None:
                self._raised += said["state"] != "ok"
                self._agreed += said["state"] != "ok"
                self._look_whether_whole(scope, limits, agreed, said, now)
                self._look_at_reserved(scope, limits, agreed, said, view)
                return
            first = first or demanded[0]
        assert first is not None, "there is always the version of the cut"
        self._raised += first["state"] != "ok"
        self.differs(f"flag of {scope}", _shown(first), _shown(said))

    def _demanded(self, scope: str, limits: list[Limit], windows: dict[str, Sum], now: datetime) -> list[Flag]:
        if scope == GLOBAL_SCOPE and self._stopped is not None:
            return [flag_of_stop(self._stopped)]
        return expected_flags(scope, limits, windows, now)

    def _look_whether_whole(self, scope: str, limits: list[Limit], agreed: Flag, said: Flag, now: datetime) -> None:
        """A flag says `incomplete` while its sum may lack what was spent before its meter began, and else does not."""
        shown = next((limit for limit in limits if limit.id == agreed.get("budget")), None)
        if shown is None or not is_beyond(scope, shown.calendar):
            may_be = {False}
        else:
            is_users, home = owner_of(scope, self._homes, 1)
            partitions = (home,) if is_users else range(self._homes)
            start_ms = milliseconds(start_in(shown.calendar, now))
            may_be = set()
            for meters in self._meters:
                may_be |= meters.may_be_incomplete(scope, shown.calendar, start_ms, partitions)
        if bool(said.get("incomplete")) not in may_be:
            self.differs(f"flag of {scope}", *(_whole(is_so) for is_so in (True not in may_be, True in may_be)))

    def _look_at_reserved(self, scope: str, limits: list[Limit], agreed: Flag, said: Flag, view: View) -> None:
        """A flag of a scope with a user says what the open reservations hold of its limit."""
        shown = next((limit for limit in limits if limit.id == agreed.get("budget")), None)
        user = user_of(scope)
        if shown is None or user is None or view.reserved_since(user):
            return
        held = sum(open_.of(shown.unit) for open_ in view.open_of(user) if open_.is_in(scope))
        expected = plain(held, shown.decimals) if held else None
        if said.get("reserved") != expected:
            self.differs(
                f"flag of {scope}", f"{expected or 'nothing'} reserved", f"{said.get('reserved') or 'nothing'}"
            )


def _whole(is_whole: bool) -> str:
    return "one of a whole sum" if is_whole else "one that says that its sum is incomplete"


def _agree(said: Flag, expected: Flag) -> bool:
    return all(
        sorted(said.get(name) or ()) == value if name == "except" else said.get(name) == value
        for name, value in expected.items()
    )


def _shown(flag: Flag) -> str:
    if flag["state"] == "ok":
        return "ok"
    if flag.get("note") is not None:
        return f"{flag['state']} by hand: {flag['note']}"
    numbers = f"{flag.get('spent')} of {flag.get('limit')} {flag.get('unit')} ({flag.get('percent')} %)"
    return f"{flag['state']} by {flag.get('budget')}: {numbers}, action {flag.get('action')}, until {flag.get('until')}"
