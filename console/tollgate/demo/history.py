"""A month of plausible usage, one UTC day at a time. Pure: the same day gives the same events, to the byte.

Every event's id contains its day: playing a day again changes nothing, and playing a month tomorrow adds one day.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from typing import Any, Final

from tollgate.demo.offers import OFFERS, Offer
from tollgate.schemas.instants import format_instant, to_ms

DAYS: Final = 30
ID_PREFIX: Final = "history-"
# The user whose video agent overspends when the demo goes live.
OVERSPENDER: Final = "u-4812"
USERS: Final = tuple(f"u-{number}" for number in range(4790, 4830))
ORGS: Final = ("acme", "globex", "initech", "umbrella", "stark")
CAMPAIGNS: Final = ("holiday-2024", "spring-launch", "reactivation")

# Five working days of 480 and a weekend of 220 and 180 make 2,800 a week, 12,000 in 30 days.
_EVENTS_PER_WEEKDAY: Final = (480, 480, 480, 480, 480, 220, 180)
# Calls by hour of day, in UTC: quiet at night, two humps in office hours.
_HOUR_WEIGHTS: Final = (2, 1, 1, 1, 1, 2, 4, 8, 14, 18, 20, 18, 14, 17, 20, 19, 16, 12, 9, 8, 7, 6, 4, 3)
# Some users are far busier than others: the first makes ten calls for each one of the last.
_USER_WEIGHTS: Final = tuple(accumulate(len(USERS) // (place + 1) + 3 for place in range(len(USERS))))
_OFFER_WEIGHTS: Final = tuple(accumulate(offer.weight for offer in OFFERS))
_FAILURES: Final = ("error", "rate_limited", "cancelled")
_FAILED_IN_1000: Final = 18
_WITH_CAMPAIGN_IN_1000: Final = 350


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One CloudEvent, as it goes to Kafka but for the encoding."""

    user: str
    time_ms: int
    event: dict[str, Any]


def days_before(today: date) -> list[date]:
    """The days that a month's history of this day is made of, oldest first; today is not among them."""
    return [today - timedelta(days=back) for back in range(DAYS, 0, -1)]


def events_of(day: date) -> Iterator[HistoryEvent]:
    """The day's events in order of time."""
    dice = random.Random(f"tollgate history {day.isoformat()}")  # noqa: S311 # a repeatable story, not a secret
    midnight_ms = to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))
    hours = dice.choices(range(24), _HOUR_WEIGHTS, k=_EVENTS_PER_WEEKDAY[day.weekday()])
    times = sorted(midnight_ms + hour * 3_600_000 + dice.randrange(3_600_000) for hour in hours)
    for number, time_ms in enumerate(times):
        (offer,) = dice.choices(OFFERS, cum_weights=_OFFER_WEIGHTS)
        (user,) = dice.choices(USERS, cum_weights=_USER_WEIGHTS)
        event = {
            "specversion": "1.0",
            "type": "tollgate.usage.v1",
            "source": offer.service,
            "id": f"{ID_PREFIX}{day.isoformat()}-{number:04d}",
            "subject": user,
            "time": format_instant(time_ms),
            "data": _data(dice, offer, user, number),
        }
        yield HistoryEvent(user, time_ms, event)


def org_of(user: str) -> str:
    """Eight users each belong to one customer."""
    return ORGS[USERS.index(user) % len(ORGS)]


def usage_of(dice: random.Random, offer: Offer) -> dict[str, int | str]:
    """Amounts for one call."""
    usage: dict[str, int | str] = {name: dice.randint(*sizes) for name, sizes in offer.usage.items()}
    for name, sizes in offer.tenths.items():
        whole, tenth = divmod(dice.randint(*sizes), 10)
        usage[name] = f"{whole}.{tenth}" if tenth else whole
    return usage


def _data(dice: random.Random, offer: Offer, user: str, number: int) -> dict[str, Any]:
    data = offer.data() | {"usage": usage_of(dice, offer), "org": org_of(user)}
    data["latency_ms"] = dice.randint(*offer.latency_ms)
    if dice.randrange(1000) < _WITH_CAMPAIGN_IN_1000:
        data["campaign"] = dice.choice(CAMPAIGNS)
    if dice.randrange(1000) < _FAILED_IN_1000:
        data["status"] = dice.choice(_FAILURES)
        # A provider that was cut off in the middle charges for what it had done.
        data["billed"] = data["status"] == "cancelled"
        # The user does not pay for a call that failed.
        data.pop("retail_tokens", None)
    elif offer.resource:
        data["resource_id"] = f"{offer.resource.lower()}_{number:04d}"
    return data
