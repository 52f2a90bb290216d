"""The SDK for services: record usage, and ask whether a call may go ahead. See README.md."""

from tollgate.sdk.decision import Decision
from tollgate.sdk.errors import InvalidEventError, SdkError, UnavailableError
from tollgate.sdk.flags import FlagReader
from tollgate.sdk.publisher import UsagePublisher

__all__ = ["Decision", "FlagReader", "InvalidEventError", "SdkError", "UnavailableError", "UsagePublisher"]
