"""The SDK for services: record usage, ask whether a call may go ahead, and reserve for it. See README.md.

Names are imported when they are first asked for, so that a service that only records does not wait for the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tollgate.sdk.client import AsyncTollgate, Tollgate
    from tollgate.sdk.decision import Decision
    from tollgate.sdk.errors import BlockedError, InvalidEventError, SdkError, UnavailableError, UndecidedError
    from tollgate.sdk.faces import AsyncHeld, Held, Recorder
    from tollgate.sdk.flags import FlagReader
    from tollgate.sdk.publisher import UsagePublisher
    from tollgate.sdk.reservation import Reservation
    from tollgate.sdk.stats import Stats
    from tollgate.sdk.testing import AsyncRecordingTollgate, RecordingTollgate

_HOMES = {
    "AsyncHeld": "faces",
    "AsyncRecordingTollgate": "testing",
    "AsyncTollgate": "client",
    "BlockedError": "errors",
    "Decision": "decision",
    "FlagReader": "flags",
    "Held": "faces",
    "InvalidEventError": "errors",
    "Recorder": "faces",
    "RecordingTollgate": "testing",
    "Reservation": "reservation",
    "SdkError": "errors",
    "Stats": "stats",
    "Tollgate": "client",
    "UnavailableError": "errors",
    "UndecidedError": "errors",
    "UsagePublisher": "publisher",
}

__all__ = [
    "AsyncHeld",
    "AsyncRecordingTollgate",
    "AsyncTollgate",
    "BlockedError",
    "Decision",
    "FlagReader",
    "Held",
    "InvalidEventError",
    "Recorder",
    "RecordingTollgate",
    "Reservation",
    "SdkError",
    "Stats",
    "Tollgate",
    "UnavailableError",
    "UndecidedError",
    "UsagePublisher",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
