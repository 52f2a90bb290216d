"""The SDK for services: record usage, ask whether a call may go ahead, and reserve for it. See README.md."""

from tollgate.sdk.decision import Decision
from tollgate.sdk.errors import BlockedError, InvalidEventError, SdkError, UnavailableError, UndecidedError
from tollgate.sdk.flags import FlagReader
from tollgate.sdk.publisher import UsagePublisher
from tollgate.sdk.reservation import Reservation

__all__ = [
    "BlockedError",
    "Decision",
    "FlagReader",
    "InvalidEventError",
    "Reservation",
    "SdkError",
    "UnavailableError",
    "UndecidedError",
    "UsagePublisher",
]
