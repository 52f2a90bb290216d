"""The outcome of an attempt to deliver a message. An outage is expected, so it is a value, not an exception."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delivered:
    """The message is in the channel."""

    channel: str = ""
    ts: str = ""


@dataclass(frozen=True, slots=True)
class Limited:
    """Too many requests; it was not done. Wait this long before the next one."""

    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Unsent:
    """It was certainly not done: nothing listens there."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unclear:
    """It may have been done: time-out, cut connection, server error."""

    reason: str


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """It was refused for a reason that a person must mend; `fix` says how."""

    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The message to edit is not there any more or may no longer be edited."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """This one message was refused; others may pass."""

    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """The message looked for, and what it says."""

    channel: str
    ts: str
    revision: int
    level: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """No such message in the channel."""


@dataclass(frozen=True, slots=True)
class Unsearchable:
    """The channel's history cannot be read at all, so nobody can tell."""

    reason: str


Sent = Delivered | Limited | Unsent | Unclear | Misconfigured | Gone | Rejected
Looked = Found | NotFound | Unsearchable | Limited | Unsent | Unclear | Misconfigured
