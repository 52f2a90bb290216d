"""What people set: budgets on combinations and calendars, plans and who has them, before the load and during it.

All windows in a zone end hours after the run begins, so that no clock decides in which of two an event is counted.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from tests.simulation.rules import Having, Limit, Plan, Rules, window

# Those who reserve. What is set in mid run does not limit them, so each decision follows from the log alone.
KEEPERS: Final = tuple(f"keep-{n}" for n in range(5))
LAPSERS: Final = tuple(f"lapse-{n}" for n in range(3))
# Those whose credits expire, and who never use any.
SAVERS: Final = tuple(f"save-{n}" for n in range(4))

# Thresholds of budgets in percent; limits of plans have no emergency.
_LEVELS: Final = ((150, "emergency"), (100, "critical"), (80, "warning"))

# Spread around the globe: at any instant it is morning in two of them.
_ZONES: Final = (
    "Asia/Kathmandu", "Europe/Amsterdam", "America/New_York", "Asia/Tokyo", "America/Los_Angeles", "Pacific/Auckland",
    "America/Sao_Paulo", "Asia/Dubai", "Pacific/Honolulu", "Australia/Perth",
)  # fmt: skip
# An event of 5 hours ago and the end of a long run are in the same day.
_MORNING: Final = range(6, 15)


def budget(scope: str, most: str, calendar: str = "month", unit: str = "usd") -> Limit:
    """A budget with the id that it has when it is given none."""
    number = int(Decimal(most) * 10**12) if unit == "usd" else int(most)
    return Limit(scope, calendar, unit, number, f"{scope}:{calendar.partition('@')[0]}:{unit}")


def written(unit: str, most: int) -> str:
    """A limit as people write it."""
    return format(Decimal(most) / 10**12, "f") if unit == "usd" else str(most)


def level(limit: Limit, spent: Decimal) -> str:
    """The threshold that is reached by what is spent, in the unit that the limit has in `Limit.most`."""
    reached = next((name for percent, name in _LEVELS if spent * 100 >= percent * limit.most), "ok")
    return "critical" if reached == "emergency" and limit.name.startswith("plan/") else reached


def morning_zones(start: datetime) -> tuple[str, str]:
    """Two zones in which this day neither began nor ends within hours."""
    found = [zone for zone in _ZONES if start.astimezone(ZoneInfo(zone)).hour in _MORNING]
    return found[0], found[1]


@dataclass
class People:
    """`rules` are what is set now, and `since_ms` the first window of each meter that is kept for them."""

    start: datetime
    rules: Rules = field(default_factory=Rules)
    later: list[Limit] = field(default_factory=list)
    since_ms: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        near, far = morning_zones(self.start)
        limits = (
            budget("user/chaos-0", "3"),
            budget("user/chaos-1", "100000"),
            budget("agent/SEO", "5"),
            budget("campaign/winter", "40"),
            budget("global", "1000000"),
            budget("agent/EMAIL", "20", f"month@{far}~15"),
            budget("model/beta", "1500", f"week@{far}", "images"),
            budget("org/*+feature/video", "600", f"day@{near}", "events"),
            budget("user/*+feature/video", "3000", f"week@{near}~sunday", "events"),
            budget("user/keep-0", "0.5"),
            budget("user/keep-1+model/alpha", "0.4", f"day@{near}"),
            budget("user/keep-2", "3000", f"week@{far}", "events"),
            budget("user/keep-3", "0.3", f"month@{near}~15"),
            budget("user/lapse-0", "1"),
        )
        plans = {
            "usual": Plan((("video", "events", "month", 2_000), ("", "credits", "day", 100_000)), 10),
            "small": Plan((("video", "events", "month", 40), ("chat", "credits", "week", 60)), 25),
        }
        small = Having("small", far, 15)
        having = dict.fromkeys(("chaos-2", "chaos-5", "chaos-11", "keep-3"), small)
        self.rules = Rules({limit.name: limit for limit in limits}, plans, having, Having("usual", near))
        self.since_ms = dict.fromkeys(self.rules.meters(), 0)
        self.later = [
            budget("user/chaos-0+feature/video", "30", f"month@{near}"),
            budget("agent/SUPPORT", "8", f"week@{far}~wednesday"),
            budget("user/*+service/chat", "2000", f"week@{far}", "credits"),
            budget("service/studio+agent/SEO", "400", f"day@{far}", "events"),
            budget("model/gamma+feature/video", "50", "lifetime"),
            budget("global", "900000", f"week@{near}"),
        ]

    def all_meters(self) -> set[str]:
        """Those of now and of later."""
        limits = {limit.name: limit for limit in self.later}
        return replace(self.rules, limits={**self.rules.limits, **limits}).meters()

    def know(self, limit: Limit, now: datetime) -> None:
        """A budget is set, or replaced by one of the same id."""
        self.rules = replace(self.rules, limits={**self.rules.limits, limit.name: limit})
        self.later = [other for other in self.later if other.name != limit.name]
        now_ms = int(now.timestamp() * 1000)
        for meter in self.rules.meters() - self.since_ms.keys():
            self.since_ms[meter] = window(meter.rpartition("|")[2], now_ms)[0]
