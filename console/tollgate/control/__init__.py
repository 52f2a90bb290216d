"""The control topic in memory, and the only way in which it is changed. See README.md."""

from tollgate.control.differences import Difference, differences
from tollgate.control.errors import (
    ControlError,
    InUseError,
    InvalidRecordError,
    NoRecordError,
    RepeatedKeyError,
    UnreachableError,
    VersionConflictError,
)
from tollgate.control.grants import grant_records
from tollgate.control.records import Changed, Held
from tollgate.control.store import ControlStore

__all__ = [
    "Changed",
    "ControlError",
    "ControlStore",
    "Difference",
    "Held",
    "InUseError",
    "InvalidRecordError",
    "NoRecordError",
    "RepeatedKeyError",
    "UnreachableError",
    "VersionConflictError",
    "differences",
    "grant_records",
]
