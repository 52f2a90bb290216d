"""Why a change was not made.

ControlError               its text is one sentence for people
├── InvalidRecordError     the value is no record of its kind, or the key is none
├── NoRecordError          there is nothing to remove
├── InUseError             others refer to what would be removed
├── VersionConflictError   somebody else changed it first: look at it again, then repeat
├── RepeatedKeyError       the idempotency key stands for another change
└── UnreachableError       Kafka is away or refuses; may be retried
"""

from tollgate.control.records import Held


class ControlError(Exception):
    """A failure that is expected to happen."""


class InvalidRecordError(ControlError):
    """The value is no record of its kind, or the key names no kind that can be changed."""


class NoRecordError(ControlError):
    """There is no record to remove under this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"there is no {key}.")
        self.key = key


class InUseError(ControlError):
    """The plan cannot be removed, because somebody has it."""


class VersionConflictError(ControlError):
    """The record's version is not the expected one. `held` is what is there now; None when there is none."""

    def __init__(self, key: str, expected: int, found: int, held: Held | None = None) -> None:
        self.key, self.expected, self.found, self.held = key, expected, found, held
        if found == 0:
            now = "it does not exist" + (" any more" if expected > 0 else "")
        else:
            now = f"it is at version {found}"
            if held is not None and held.actor:
                now += f", changed by {held.actor}"
            if held is not None and held.updated_at:
                now += f" at {held.updated_at}"
        wanted = "a key without a record" if expected == 0 else f"version {expected}"
        super().__init__(f"{key} was changed by somebody else: you expected {wanted}, and {now}.")


class RepeatedKeyError(ControlError):
    """The actor used the same idempotency key within the last 24 hours for another change."""

    def __init__(self) -> None:
        super().__init__("the idempotency key was used for another change: use a new key for each change.")


class UnreachableError(ControlError):
    """Kafka did not answer in time, lacks a topic, or refuses. The text says whether the change may have been made."""
