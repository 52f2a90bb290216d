"""Compares the control topic with the audit, and the audit with ClickHouse."""

import json
from typing import Any, Final, NamedTuple

from aiokafka import ConsumerRecord

from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic
from tollgate.verification.log import Log
from tollgate.verification.report import Check

# A change names itself in this header of its control record.
_CHANGE_HEADER: Final = "audit"

# Requests are remembered for a day and are nobody's change. What comes and goes with a login is not told.
_NOT_TOLD: Final = "request/"
_TOKENS: Final = "token/"
_UNTOLD_TOKENS: Final = frozenset({"session"})


class _Change(NamedTuple):
    """What a control record says of its last change. `after` None removes."""

    key: str
    after: dict[str, Any] | None


async def compare_audit(log: Log) -> tuple[Check, int, int]:
    """Whether each control record's last change is in the audit as it is in the control topic; how many records the
    audit has, and the offset at which that was.
    """
    check = Check("audit")
    changes, others = await _last_changes(log)
    found: dict[str, _Change] = {}
    count = end = 0
    # Whatever was written in one transaction with a change lies before the tips.
    begins, ends = await log.begins(Topic.AUDIT), await log.tips(Topic.AUDIT)
    for partition, end in ends.items():
        async for batch in log.read(Topic.AUDIT, partition, begins[partition], end):
            for record in batch:
                count += 1
                told = _told(record)
                # Only what is asked for is kept: the audit is never cut.
                if told is not None and told[0] in changes:
                    found[told[0]] = told[1]
    for identity, change in changes.items():
        if identity not in found:
            check.differs(change.key[:300], f"change {identity}", "none")
        elif found[identity] != change:
            check.differs(f"{change.key[:300]}, change {identity}", "as in the control topic", "another record")
    if others:
        check.note = f"{others} control records were written by other programs, which leave no audit"
    return check.shows(f"{len(changes)} changes", f"{len(found)} changes"), count, end


async def _last_changes(log: Log) -> tuple[dict[str, _Change], int]:
    """The last change of each key that the audit must tell, by its id; and how many records have none."""
    latest: dict[str, tuple[str, dict[str, Any] | None]] = {}
    begins, ends = await log.begins(Topic.CONTROL), await log.ends(Topic.CONTROL)
    for partition, end in ends.items():
        async for batch in log.read(Topic.CONTROL, partition, begins[partition], end):
            for record in batch:
                key = (record.key or b"").decode("utf-8", "replace")
                if not key.startswith(_NOT_TOLD):
                    latest[key] = (_change_of(record), _object(record.value))
    changes: dict[str, _Change] = {}
    others = 0
    for key, (identity, after) in latest.items():
        if key.startswith(_TOKENS) and (after is None or after.get("kind") in _UNTOLD_TOKENS):
            continue
        if identity:
            changes[identity] = _Change(key, _shown(after))
        elif after is not None:
            others += 1
    return changes, others


def _change_of(record: ConsumerRecord) -> str:
    """Empty for a record of another program."""
    return next(
        (bytes(value or b"").decode("utf-8", "replace") for name, value in record.headers if name == _CHANGE_HEADER), ""
    )


def _told(record: ConsumerRecord) -> tuple[str, _Change] | None:
    value = _object(record.value)
    if value is None:
        return None
    after = value.get("after")
    return str(value.get("id")), _Change(str(value.get("key")), after if isinstance(after, dict) else None)


def _shown(value: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if value is None else {name: field for name, field in value.items() if name != "hash"}


def _object(value: bytes | None) -> dict[str, Any] | None:
    """None for what is no JSON object."""
    try:
        found = read_record(json.loads, value)
    except UnreadableError:
        return None
    return found if isinstance(found, dict) else None
