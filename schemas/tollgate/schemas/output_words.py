"""The words in the records that Tollgate writes: states, actions, levels and reasons.

They are apart from the models of `outputs`, so that a service that asks about a call does not wait for the models.
"""

from enum import StrEnum


class EventStatus(StrEnum):
    """How the call that an event reports ended. Other than `success` costs nothing unless the event says `billed`."""

    SUCCESS = "success"
    ERROR = "error"
    RATE_LIMITED = "rate_limited"
    CANCELLED = "cancelled"


class EventKind(StrEnum):
    """What a priced record is: the event itself, or a later entry that corrects it."""

    USAGE = "usage"
    ADJUSTMENT = "adjustment"


class PriceStatus(StrEnum):
    """Where a cost comes from."""

    PRICED = "priced"
    """A price of the book that was in force at the event's time."""
    ESTIMATED = "estimated"
    """Such a price, for the dearest reading of an event that does not tell in which dimension its tokens are."""
    REPORTED = "reported"
    """The event's own `cost_usd`."""
    FREE = "free"
    """A price of zero, or a failed call that the provider did not bill."""
    UNPRICED = "unpriced"
    """No price is known: a stand-in was used, and an alert went out. The event keeps this cost when a price arrives."""
    CORRECTED = "corrected"
    """An adjustment that replaces what a stand-in had cost."""


class FlagState(StrEnum):
    """The current decision for a scope. Services refuse calls in the last two."""

    OK = "ok"
    WARNING = "warning"
    BLOCKED = "blocked"
    STOPPED = "stopped"


class Action(StrEnum):
    """What a threshold asks for when it is reached, from mildest to strictest."""

    ALERT = "alert"
    DOWNGRADE = "downgrade"
    BLOCK = "block"
    STOP = "stop"


class AlertKind(StrEnum):
    """What an alert is about."""

    BUDGET = "budget"
    UNPRICED = "unpriced"
    CLOCK = "clock"
    """A broker stamps records with a time that is ahead of the worker's clock."""
    POISON = "poison"
    """A record ended the worker again and again, and was put aside without being counted."""
    STOP = "stop"
    """Somebody has stopped all spending by hand."""


class AlertLevel(StrEnum):
    """How urgent an alert is; `resolved` ends it."""

    WARNING = "warning"
    CRITICAL = "critical"
    EMERGENCY = "emergency"
    RESOLVED = "resolved"


class DecisionError(StrEnum):
    """Why a reservation was denied."""

    USAGE_LIMIT_EXCEEDED = "usage_limit_exceeded"
    """A limit of a budget or plan (HTTP 429)."""
    INSUFFICIENT_CREDITS = "insufficient_credits"
    """The user has fewer credits than the call takes (HTTP 402)."""
    SPENDING_STOPPED = "spending_stopped"
    """All spending is stopped (HTTP 503)."""
    TOO_MANY_RESERVATIONS = "too_many_reservations"
    """The user has 10,000 open reservations (HTTP 429)."""
    RESERVATION_ENDED = "reservation_ended"
    """A reservation of this source and id was denied before, or has ended (HTTP 409): take another id."""
    RESERVATION_CONFLICT = "reservation_conflict"
    """Another reservation, of other data or another user, has this source and id (HTTP 409): take another id."""


class CreditKind(StrEnum):
    """Where credits come from."""

    PURCHASE = "purchase"
    BONUS = "bonus"
    PRIZE = "prize"
    REFERRAL = "referral"
    REFUND = "refund"
    CORRECTION = "correction"
