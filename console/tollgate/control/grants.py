"""A grant of credits: its entry and its audit record. Pure."""

import json
from hashlib import blake2b
from typing import Any

from tollgate.control.change import OutRecord, check_actor
from tollgate.schemas.audit import AuditAction, AuditRecord
from tollgate.schemas.control import FIRST_VERSION, REASON_CHARS_MAX
from tollgate.schemas.entries import decode_entries_topic
from tollgate.schemas.instants import format_instant
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_limits import SPEC_VERSION
from tollgate.schemas.vocabulary import EntryType


def grant_records(
    entry_id: str,
    user: str,
    data: dict[str, Any],
    *,
    source: str,
    actor: str,
    now_ms: int,
) -> tuple[OutRecord, ...] | Refusal:
    """The records that grant a user credits, or why the worker would refuse them. `data` is that of a
    `tollgate.credit.v1`: credits, kind, expires_at, note.

    The same grant of the same actor has the same ids, at whatever time: written twice, it is granted and told once.
    InvalidRecordError for an actor that the audit cannot hold.
    """
    check_actor(actor)
    now = format_instant(now_ms)
    envelope = {"specversion": SPEC_VERSION, "type": EntryType.CREDIT.value, "source": source, "id": entry_id}
    value = _json({**envelope, "subject": user, "time": now, "data": data})
    refusal = decode_entries_topic(value)
    if isinstance(refusal, Refusal):
        return refusal
    audit = AuditRecord(
        id="grant-" + blake2b(_json([source, entry_id, user, data, actor]), digest_size=20).hexdigest(),
        time=now,
        actor=actor,
        action=AuditAction.SET,
        key=f"credit/{user}/{entry_id}",
        kind="credit",
        after={"user": user, **data},
        reason=(data.get("note") or "")[:REASON_CHARS_MAX],
        version=FIRST_VERSION,
    )
    return (
        OutRecord(Topic.ENTRIES, user.encode(), value, partition=None),
        OutRecord(Topic.AUDIT, audit.key.encode(), audit.model_dump_json().encode()),
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
