"""Budgets, plans and assignments at random, with all that they can say: validity, exceptions, levels, calendars."""

import random
from collections.abc import Sequence
from typing import Any, Final

from tollgate.schemas.control import AssignmentRecord, BudgetRecord, PlanRecord
from tollgate.schemas.instants import format_instant

HOUR_MS: Final = 3_600_000

# Kind, zone and first day.
CUTS: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("hour", "UTC", {}), ("day", "UTC", {}), ("month", "UTC", {}), ("lifetime", "UTC", {}), ("week", "UTC", {}),
    ("day", "Europe/Amsterdam", {}), ("hour", "Asia/Kathmandu", {}), ("day", "America/New_York", {}),
    ("week", "Europe/Amsterdam", {"week_starts_on": "sunday"}), ("month", "Asia/Tokyo", {"month_starts_on": 25}),
)  # fmt: skip
EXCEPTED: Final = ("provider/groq", "model/x", "feature/video", "provider/groq+model/x", "agent/a", "org/b+agent/a")
PLANS: Final = tuple(
    PlanRecord.model_validate(plan)
    for plan in (
        {
            "id": "small",
            "name": "Small",
            "credits_per_day": "8",
            "limits": [{"feature": "video", "limit": "4", "window": "day"}, {"unit": "usd", "limit": "9"}],
        },
        {"id": "trial", "name": "Trial", "ends_after": "P1D", "limits": [{"feature": "video", "limit": "12"}]},
    )
)
_ACTIONS: Final = ("alert", "downgrade", "block", "block", "stop")
_SINCE: Final = "2026-10-01T00:00:00Z"


def budget_of(rnd: random.Random, scopes: Sequence[str], units: Sequence[str], most: int, now_ms: int) -> BudgetRecord:
    """A budget on one of these scopes or patterns, under one of a few ids, of at most so much."""
    kind, zone, first = rnd.choice(CUTS)
    levels = {
        level: {"percent": percent, "action": rnd.choice(_ACTIONS)}
        for level, percent in (("warning", "50"), ("critical", "100"), ("emergency", "120"))
        if rnd.random() < 0.7
    }
    given: dict[str, Any] = {
        "id": f"b{rnd.randrange(7)}",
        "scope": rnd.choice(scopes),
        "limit": str(rnd.randint(3, most)),
        "unit": rnd.choice(units),
        "window": kind,
        "timezone": zone,
        "except": rnd.sample(EXCEPTED, rnd.choice((0, 0, 1, 2))),
        "updated_at": _SINCE,
        **first,
    }
    if levels:
        given["thresholds"] = levels
    if rnd.random() < 0.4:
        given["valid_from"] = format_instant(now_ms + rnd.randrange(-4, 4) * HOUR_MS)
    if rnd.random() < 0.4:
        given["valid_to"] = format_instant(now_ms + rnd.randrange(5, 40) * HOUR_MS)
    return BudgetRecord.model_validate(given)


def assignment_of(rnd: random.Random, now_ms: int) -> AssignmentRecord:
    """A plan that somebody is given; it may end soon, and need not exist."""
    given = {
        "plan": rnd.choice(("small", "trial", "gone")),
        "since": format_instant(now_ms - rnd.randrange(30) * HOUR_MS),
        "timezone": rnd.choice(("UTC", "Asia/Tokyo")),
    }
    return AssignmentRecord.model_validate(given)
