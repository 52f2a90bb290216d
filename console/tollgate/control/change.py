"""A change of one control record: what is asked for, and the records that make it. Pure."""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from pydantic import ValidationError

from tollgate.control.errors import (
    InUseError,
    InvalidRecordError,
    NoRecordError,
    RepeatedKeyError,
    VersionConflictError,
)
from tollgate.control.records import CHANGE_FIELDS, REQUEST_KEY_PREFIX, Changed, RequestRecord, canonical, validated
from tollgate.control.state import AUDIT_HEADER, VERSION_HEADER, State
from tollgate.schemas.audit import AuditAction, AuditRecord, shown_value
from tollgate.schemas.control import PLAN_KEY_PREFIX, REASON_CHARS_MAX, AssignmentRecord, ControlRecord, describe_faults
from tollgate.schemas.instants import format_instant
from tollgate.schemas.plans import shipped_plans
from tollgate.schemas.text_rules import CONTROL_CHARACTER, NAME_CHARS_MAX
from tollgate.schemas.tokens import TOKEN_KEY_PREFIX, TokenKind
from tollgate.schemas.topics import Topic

# A change also clears away what is of no use any more, but never holds a person up for long.
_CLEARED_MAX: Final = 200
_IDEMPOTENCY_KEY_CHARS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody asks for. `record` None removes. `content` says the same for the same request."""

    id: str
    key: str
    record: ControlRecord | None
    actor: str
    reason: str
    expect_version: int | None
    request_key: str
    content: str


@dataclass(frozen=True, slots=True)
class OutRecord:
    """One record of the transaction. `partition` None is that of the key; the control topic and the audit have one."""

    topic: Topic
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer to a change, and the records that make it true; no records for a request that was done before."""

    changed: Changed
    records: tuple[OutRecord, ...]


def new_change(
    id: str,  # noqa: A002 # the change's own name
    key: str,
    value: dict[str, Any] | None,
    *,
    actor: str,
    reason: str,
    expect_version: int | None,
    idempotency_key: str,
    request: str | None,
) -> Change:
    """The change, when it could be made at all. InvalidRecordError."""
    check_actor(actor)
    _check_text("reason", reason, REASON_CHARS_MAX)
    _check_text("idempotency key", idempotency_key, _IDEMPOTENCY_KEY_CHARS_MAX)
    own = None if value is None else {name: field for name, field in value.items() if name not in CHANGE_FIELDS}
    try:
        # The time is set when the change is made; until then any will do.
        record = validated(key, None if own is None else own | {"updated_at": format_instant(0)})
    except ValidationError as error:
        raise InvalidRecordError(f"{key[:64]!r}: {describe_faults(error)}.") from None
    except ValueError as error:
        raise InvalidRecordError(f"{error}.") from None
    text = request if request is not None else json.dumps([key, own, reason, expect_version], sort_keys=True)
    return Change(
        id,
        key,
        record,
        actor,
        reason,
        expect_version,
        REQUEST_KEY_PREFIX + _digest(f"{actor}\n{idempotency_key}") if idempotency_key else "",
        _digest(text),
    )


def plan(state: State, change: Change, now_ms: int) -> Plan:
    """How the change is made, the topic being in this state. VersionConflictError, NoRecordError, RepeatedKeyError."""
    earlier = state.requests.get(change.request_key)
    if earlier is not None:
        if earlier.content != change.content:
            raise RepeatedKeyError
        return Plan(earlier.changed(), ())
    held, found = state.held.get(change.key), state.version(change.key)
    if change.expect_version is not None and change.expect_version != found:
        raise VersionConflictError(change.key, change.expect_version, found, held)
    if change.record is None and found == 0:
        raise NoRecordError(change.key)
    _check_plans(state, change)
    version = state.next_version(change.key)
    after = None
    if change.record is not None:
        stamp = {"actor": change.actor, "reason": change.reason, "version": version}
        after = canonical(change.record.model_copy(update={**stamp, "updated_at": format_instant(now_ms)}))
    changed = Changed(change.key, held.value if held else None, after, version, change.id, replayed=False)
    return Plan(changed, (*_records(change, changed, now_ms), *_cleared(state, change, now_ms)))


def _check_plans(state: State, change: Change) -> None:
    """InvalidRecordError for an assignment of a plan that there is not; InUseError for the removal of one in use."""
    if isinstance(change.record, AssignmentRecord):
        plan_id = change.record.plan
        if plan_id not in state.plans and plan_id not in shipped_plans():
            raise InvalidRecordError(f"there is no plan {plan_id!r}: see `tollgate plan list`.")
    elif change.record is None and change.key.startswith(PLAN_KEY_PREFIX):
        plan_id = change.key.removeprefix(PLAN_KEY_PREFIX)
        if plan_id not in shipped_plans():
            users = sorted(name for name, held in state.assignments.items() if held.plan == plan_id)
            if users:
                rest = f" and {len(users) - 1} more" if len(users) > 1 else ""
                raise InUseError(f"the plan {plan_id} is that of {users[0]}{rest}: give them another plan first.")


def _records(change: Change, changed: Changed, now_ms: int) -> list[OutRecord]:
    headers = ((AUDIT_HEADER, change.id.encode()), (VERSION_HEADER, str(changed.version).encode()))
    value = None if changed.after is None else _json(changed.after)
    made = [OutRecord(Topic.CONTROL, change.key.encode(), value, headers)]
    if is_audited(changed):
        made.append(OutRecord(Topic.AUDIT, change.key.encode(), _audit(change, changed, now_ms)))
    if change.request_key:
        request = RequestRecord(
            content=change.content,
            at_ms=now_ms,
            key=change.key,
            before=changed.before,
            after=changed.after,
            version=changed.version,
            audit_id=change.id,
        )
        made.append(OutRecord(Topic.CONTROL, change.request_key.encode(), request.model_dump_json().encode()))
    return made


def is_audited(changed: Changed) -> bool:
    """Whether the audit tells a change. It tells who made a login link and for which role, but not that it was used,
    nor the sessions that come and go: nobody decided anything there, and they would bury what somebody did decide.
    """
    if not changed.key.startswith(TOKEN_KEY_PREFIX):
        return True
    kind = (changed.after or changed.before or {}).get("kind")
    return kind == TokenKind.API.value or (kind == TokenKind.LOGIN.value and changed.after is not None)


def _audit(change: Change, changed: Changed, now_ms: int) -> bytes:
    return (
        AuditRecord(
            id=change.id,
            time=format_instant(now_ms),
            actor=change.actor,
            action=AuditAction.REMOVE if changed.after is None else AuditAction.SET,
            key=change.key,
            kind=change.key.partition("/")[0],
            before=shown_value(changed.before),
            after=shown_value(changed.after),
            reason=change.reason,
            version=changed.version,
        )
        .model_dump_json()
        .encode()
    )


def _cleared(state: State, change: Change, now_ms: int) -> list[OutRecord]:
    keys = [key for key in state.over(now_ms) if key not in (change.key, change.request_key)]
    return [OutRecord(Topic.CONTROL, key.encode(), None) for key in keys[:_CLEARED_MAX]]


def check_actor(actor: str) -> None:
    """InvalidRecordError for a name that the audit cannot hold."""
    _check_text("actor", actor, NAME_CHARS_MAX)
    if not actor:
        raise InvalidRecordError("the actor must not be empty.")


def _check_text(name: str, text: str, chars_max: int) -> None:
    if len(text) > chars_max:
        raise InvalidRecordError(f"the {name} is longer than {chars_max} characters.")
    if CONTROL_CHARACTER.search(text) or not _is_encodable(text):
        raise InvalidRecordError(f"the {name} must not contain control characters.")


def _is_encodable(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
