"""What people have set, as the checker reads it: calendars, limits, plans. It shares no code with the ledger.

A calendar is `kind`, or `kind@zone`, and `~first day` where a week or month does not begin as usual. A limit of dollars
is in 10⁻¹² USD; one of events or credits is a number of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import combinations
from zoneinfo import ZoneInfo

# The order of names in a scope.
ORDER = ("user", "org", "service", "provider", "model", "agent", "campaign", "feature", "product")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
BASE = ("lifetime", "hour", "day", "month")
QUARTER_MS = 900_000
HOUR_MS = 3_600_000
# The last second that RFC 3339 can write.
LIFETIME_END_MS = 253_402_300_799_000

Names = Mapping[str, str]


def window(calendar: str, at_ms: int) -> tuple[int, int]:
    """Start and end of the calendar's window that an instant lies in."""
    return _window(calendar, at_ms - at_ms % QUARTER_MS)


@lru_cache(maxsize=65536)
def _window(calendar: str, at_ms: int) -> tuple[int, int]:
    kind, _, rest = calendar.partition("@")
    zone_name, _, first = rest.partition("~")
    zone = ZoneInfo(zone_name or "UTC")
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    if kind == "lifetime":
        return 0, LIFETIME_END_MS
    if kind == "hour":
        # Of zones whose clocks are never set.
        ahead_ms = round((local.utcoffset() or timedelta()).total_seconds()) * 1000
        start = (at_ms + ahead_ms) // HOUR_MS * HOUR_MS - ahead_ms
        return start, start + HOUR_MS
    day = local.date()
    if kind == "day":
        return _midnight(day, zone), _midnight(day + timedelta(1), zone)
    if kind == "week":
        day -= timedelta((day.weekday() - DAYS.index(first or "monday")) % 7)
        return _midnight(day, zone), _midnight(day + timedelta(7), zone)
    number = int(first or 1)
    month = day.year * 12 + day.month - 1
    begin = _day_of(month, number)
    if begin > day:
        month -= 1
        begin = _day_of(month, number)
    return _midnight(begin, zone), _midnight(_day_of(month + 1, number), zone)


def _day_of(month: int, number: int) -> date:
    """A day of a month that is counted since the year 0; of a shorter one its last."""
    first, after = (date(m // 12, m % 12 + 1, 1) for m in (month, month + 1))
    return min(first + timedelta(number - 1), after - timedelta(1))


def _midnight(day: date, zone: ZoneInfo) -> int:
    return round(datetime.combine(day, time(), zone).timestamp()) * 1000


def day_of(zone: str, at_ms: int) -> date:
    """The date in a zone."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone)).date()


@lru_cache(maxsize=65536)
def parts(scope: str) -> tuple[tuple[str, str], ...]:
    """`user/u1+feature/video` as its names; of `global` none."""
    if scope == "global":
        return ()
    return tuple((name.split("/")[0], name.split("/")[1]) for name in scope.split("+"))


def scope_in(pattern: str, names: Names) -> str | None:
    """The scope of a call that the pattern covers, if there is one."""
    found = []
    for dimension, wanted in parts(pattern):
        name = names.get(dimension)
        if name is None or wanted not in ("*", name):
            return None
        found.append(f"{dimension}/{name}")
    return "+".join(found) or "global"


def covers(pattern: str, scope: str) -> bool:
    """Whether the pattern covers the scope."""
    names = parts(scope)
    return len(names) == len(parts(pattern)) and scope_in(pattern, dict(names)) == scope


def scopes_with_user(names: Names) -> Iterator[str]:
    """All scopes of a call that contain its user, of at most three names."""
    others = [dimension for dimension in ORDER[1:] if dimension in names]
    for count in (0, 1, 2):
        for chosen in combinations(others, count):
            yield "+".join(f"{dimension}/{names[dimension]}" for dimension in ("user", *chosen))


@dataclass(frozen=True)
class Limit:
    """A budget, or a limit of a plan. `name` is its id, where somebody asks for it."""

    scope: str
    calendar: str
    unit: str
    most: int
    name: str = ""

    @property
    def kind(self) -> tuple[str, str]:
        """Limits of one kind replace each other."""
        return self.calendar.split("@")[0], self.unit


@dataclass(frozen=True)
class Plan:
    """`limits`: feature, unit, kind of window, most."""

    limits: tuple[tuple[str, str, str, int], ...]
    free: int


@dataclass(frozen=True)
class Having:
    """Who has a plan, and the calendar that it is counted by."""

    plan: str
    zone: str = "UTC"
    first: int = 1

    def calendar(self, kind: str) -> str:
        """How the windows of this kind are cut."""
        first = f"~{self.first}" if kind == "month" and self.first != 1 else ""
        return kind if self.zone == "UTC" and not first else f"{kind}@{self.zone}{first}"


@dataclass(frozen=True)
class Rules:
    """All of it at one moment. `default` is what those have who have nothing of their own."""

    limits: Mapping[str, Limit] = field(default_factory=dict)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    having: Mapping[str, Having] = field(default_factory=dict)
    default: Having | None = None

    def _has(self, user: str) -> Having | None:
        own = self.having.get(user)
        return own if own is not None and own.plan in self.plans else None

    def free_of(self, user: str) -> tuple[int, str]:
        """Free credits a day, and the zone of the day."""
        zone = self.having.get(user) or self.default or Having("")
        has = self._has(user) or self.default
        plan = self.plans.get(has.plan) if has is not None else None
        return (plan.free if plan is not None else 0, zone.zone)

    def on(self, scope: str) -> list[Limit]:
        """The limits on a scope: the first of a kind replaces the others."""
        found = sorted((limit for limit in self.limits.values() if covers(limit.scope, scope)), key=_stars)
        found += self._of_plan(scope)
        kept: dict[tuple[str, str], Limit] = {}
        for limit in found:
            kept.setdefault(limit.kind, limit)
        return list(kept.values())

    def _of_plan(self, scope: str) -> Iterator[Limit]:
        names = parts(scope)
        if [dimension for dimension, _ in names] not in (["user"], ["user", "feature"]):
            return
        user, feature = names[0][1], names[1][1] if len(names) > 1 else ""
        own = self.having.get(user)
        has = self._has(user)
        if has is None:
            if self.default is None:
                return
            # Windows are cut for the user even when their own plan does not exist.
            has = Having(self.default.plan, *((own.zone, own.first) if own is not None else _cut(self.default)))
        plan = self.plans.get(has.plan)
        for limited, unit, kind, most in plan.limits if plan is not None else ():
            if limited == feature:
                yield Limit(scope, has.calendar(kind), unit, most, f"plan/{has.plan}/{feature or '*'}/{unit}")

    def meters(self) -> set[str]:
        """What has to be counted beyond the base windows of single names, as `scope|calendar`."""
        found = {(limit.scope, limit.calendar) for limit in self.limits.values()}
        usual = self.default or Having("")
        used = {has.plan for has in (*self.having.values(), usual)} & self.plans.keys()
        limited = {(feature, kind) for name in used for feature, _, kind, _ in self.plans[name].limits}
        found |= {(_of("*", feature), usual.calendar(kind)) for feature, kind in limited}
        for user, has in self.having.items():
            if _cut(has) != _cut(usual):
                scopes = {_of(user, feature) for feature, _ in limited}
                found |= {(scope, limit.calendar) for scope in scopes for limit in self._of_plan(scope)}
        return {f"{scope}|{calendar}" for scope, calendar in found if "+" in scope or calendar not in BASE}


def _of(user: str, feature: str) -> str:
    return f"user/{user}+feature/{feature}" if feature else f"user/{user}"


def _cut(having: Having) -> tuple[str, int]:
    return having.zone, having.first


def _stars(limit: Limit) -> tuple[int, list[bool]]:
    stars = [name == "*" for _, name in parts(limit.scope)]
    return sum(stars), stars
