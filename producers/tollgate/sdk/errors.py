"""The SDK's errors.

SdkError
├── InvalidEventError    the event breaks the contract; sending it again is useless
└── UnavailableError     Kafka does not answer, or lacks the topic; may be retried with the same id
"""

from tollgate.schemas.refusals import Refusal


class SdkError(Exception):
    """Base of everything that the SDK raises on purpose."""


class InvalidEventError(SdkError):
    """The worker would refuse this event. `refusal` has the reason and the field; the text holds no payload."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.reason.value}: {refusal.error}")
        self.refusal = refusal


class UnavailableError(SdkError):
    """Kafka could not be reached in time. Nothing is known about the event: record it again under the same id."""
