"""The SDK's errors.

SdkError
├── InvalidEventError    the entry breaks the contract; sending it again is useless
├── UnavailableError     Kafka does not answer, or lacks the topic; may be retried with the same id
└── BlockedError         a call or a reservation is denied: has what to answer
    └── UndecidedError   because nobody decided in time; also an UnavailableError
"""

from typing import TYPE_CHECKING

from tollgate.schemas.refusals import Refusal
from tollgate.sdk.decision import LIMITS_UNKNOWN
from tollgate.sdk.decision import Decision as CheckDecision

if TYPE_CHECKING:
    from tollgate.schemas.outputs import Decision


class SdkError(Exception):
    """Base of everything that the SDK raises on purpose."""


class InvalidEventError(SdkError):
    """The worker would refuse this event. `refusal` has the reason and the field; the text holds no payload, and says
    what to write instead where that is not plain.
    """

    def __init__(self, refusal: Refusal, advice: str = "") -> None:
        super().__init__(f"{refusal.reason.value}: {refusal.error}{advice and f'; {advice}'}")
        self.refusal = refusal


class UnavailableError(SdkError):
    """Kafka could not be reached in time. Nothing is known about the event: record it again under the same id."""


class BlockedError(SdkError):
    """The call must not be made. `http_status` and `error` are what to answer: 402 `insufficient_credits`, 429
    `usage_limit_exceeded`, 503 `spending_stopped` or `limits_unknown`; the text is `message`.

    `scope`, `budget`, `limit`, `spent`, `unit`, `until`, `reserved` and `available` say what stood in the way, where
    that is known. `decision` is the worker's own on a reservation; None when there was none.
    """

    def __init__(self, http_status: int, error: str, message: str, decision: "Decision | None" = None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.error = error
        self.message = message
        self.decision = decision
        self.scope = decision.scope if decision else None
        self.budget = decision.budget if decision else None
        self.limit = decision.limit if decision else None
        self.spent = decision.spent if decision else None
        self.reserved = decision.reserved if decision else None
        self.available = decision.available if decision else None
        self.unit = decision.unit if decision else None
        self.until = decision.until if decision else None
        self.retry_after_seconds: int | None = None

    @classmethod
    def of(cls, decision: "Decision") -> "BlockedError":
        """From a decision that denies. What a worker of a later release leaves out is told as a limit."""
        message = decision.message or "the reservation is denied"
        return cls(decision.http_status or 429, decision.error or "usage_limit_exceeded", message, decision)

    @classmethod
    def of_check(cls, decision: CheckDecision) -> "BlockedError":
        """From what `check` answered for a call that is not allowed."""
        made = cls(decision.http_status or 429, decision.error or "usage_limit_exceeded", decision.message)
        made.scope, made.budget, made.unit, made.until = decision.scope, decision.budget, decision.unit, decision.until
        made.limit, made.spent = decision.limit, decision.spent
        made.retry_after_seconds = decision.retry_after_seconds
        return made


class UndecidedError(BlockedError, UnavailableError):
    """No decision came in time, and the call fails closed. What may be granted later is given back: reserve again under
    another id, as this one is answered with `reservation_ended` then.
    """

    def __init__(self, message: str) -> None:
        super().__init__(503, LIMITS_UNKNOWN, message)
