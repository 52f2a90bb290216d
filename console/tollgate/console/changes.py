"""Changes of control records by a request: who, why, of which version, and once."""

from typing import Annotated, Any, Final, NamedTuple

from fastapi import Depends, Header, Query, Response

from tollgate.console.access.callers import Caller
from tollgate.console.idempotency import IdempotencyKey, repeated, store_key
from tollgate.console.problems import Problem, ProblemBody
from tollgate.console.versions import IfMatch, conflict, expected_version, required_version, tag
from tollgate.control import (
    Changed,
    ControlStore,
    Held,
    InUseError,
    InvalidRecordError,
    NoRecordError,
    RepeatedKeyError,
    VersionConflictError,
)
from tollgate.schemas.control import REASON_CHARS_MAX

# A DELETE has no body, and a header holds ASCII alone.
Reason = Annotated[
    str, Query(max_length=REASON_CHARS_MAX, description="why, for the audit", examples=["the campaign has ended"])
]
OnlyNew = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        pattern=r"^\s*\*\s*$",
        description="`*`: only if there is none of this id yet; 412 when there is. The same as no If-Match",
        examples=["*"],
    ),
]


ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    409: {"model": ProblemBody, "description": "Somebody else changed it: `version`, `changed_by`, `changed_at`."},
    428: {"model": ProblemBody, "description": "There is one: send If-Match to change or remove this version."},
    503: {"model": ProblemBody, "description": "Kafka is away."},
}
"""Error answers of every route that changes a record."""


class Conditions(NamedTuple):
    """The headers of a change: of which version, only when there is none, and once."""

    if_match: str | None
    idempotency_key: str | None
    only_new: str | None = None


async def _of_a_version(if_match: IfMatch = None, idempotency_key: IdempotencyKey = None) -> Conditions:
    return Conditions(if_match, idempotency_key)


async def _or_new(
    if_match: IfMatch = None, only_new: OnlyNew = None, idempotency_key: IdempotencyKey = None
) -> Conditions:
    return Conditions(if_match, idempotency_key, only_new)


OfAVersion = Annotated[Conditions, Depends(_of_a_version)]
"""`If-Match` and `Idempotency-Key`."""
OrNew = Annotated[Conditions, Depends(_or_new)]
"""These, and `If-None-Match: *`."""


async def put_record(
    control: ControlStore,
    caller: Caller,
    response: Response,
    key: str,
    value: dict[str, Any],
    reason: str,
    asked: Conditions,
    *,
    name: str,
    said: dict[str, Any] | None = None,
) -> Changed:
    """Create the record, or replace the version in If-Match, and set the ETag of the answer. `name` is what the kind of
    the record is called, such as `budget`. `said` is what the caller has sent, where the value has more than that.

    Raises Problem: 428 when there is one and neither header is given, 412 with If-None-Match, 409 when the version is
    another one, 422.
    """
    if asked.if_match is not None and asked.only_new is not None:
        raise Problem(422, "invalid_if_match", "Send If-Match or If-None-Match, not both.")
    # Without If-Match there must be none. The store knows whether this very request has made it already.
    expected = 0 if asked.if_match is None else expected_version(asked.if_match, control.get(key), name)
    try:
        changed = await _change(control, caller, "PUT", key, value, reason, asked, expected, said or value)
    except VersionConflictError as error:
        raise (_exists(error, name, asked) if asked.if_match is None else conflict(error, name)) from None
    response.headers["ETag"] = tag(changed.version)
    return changed


async def remove_record(
    control: ControlStore, caller: Caller, key: str, reason: str, asked: Conditions, *, name: str
) -> None:
    """Remove the version in If-Match. Raises Problem: 404, 428 without If-Match, 409, 422."""
    held = control.get(key)
    if held is not None:
        expected = required_version(asked.if_match, held, name)
    else:
        # Perhaps an earlier request with the same Idempotency-Key has removed it: the store knows.
        expected = 0 if asked.if_match is None else expected_version(asked.if_match, held, name)
    try:
        await _change(control, caller, "DELETE", key, None, reason, asked, expected, None)
    except NoRecordError:
        raise unknown(name) from None
    except VersionConflictError as error:
        raise (conflict(error, name) if error.held is not None else unknown(name)) from None


async def _change(
    control: ControlStore,
    caller: Caller,
    method: str,
    key: str,
    value: dict[str, Any] | None,
    reason: str,
    asked: Conditions,
    expected: int,
    said: dict[str, Any] | None,
) -> Changed:
    try:
        return await control.change(
            key,
            value,
            actor=caller.name,
            reason=reason,
            expect_version=expected,
            idempotency_key=store_key(caller, asked.idempotency_key),
            # The same request is known again, whatever the record has become meanwhile.
            request=repr((method, key, said, reason, asked.if_match)),
        )
    except RepeatedKeyError:
        raise repeated() from None
    except InUseError as error:
        raise Problem(409, "in_use", f"{error}") from None
    except InvalidRecordError as error:
        raise Problem(422, "invalid_request", f"{error}") from None


def unknown(name: str) -> Problem:
    """There is none of this id, or the caller may not know of it."""
    return Problem(404, "not_found", f"There is no {name} of this id.")


def _exists(error: VersionConflictError, name: str, asked: Conditions) -> Problem:
    held = error.held
    more: dict[str, Any] = {"version": error.found, **_who(held)}
    headers = {"ETag": tag(error.found)}
    if asked.only_new is not None:
        return Problem(412, "exists", f"There is a {name} of this id already.", headers=headers, **more)
    detail = f'There is a {name} of this id. Send If-Match: "{error.found}" to change it.'
    return Problem(428, "version_required", detail, headers=headers, **more)


def _who(held: Held | None) -> dict[str, str]:
    return {} if held is None else {"changed_by": held.actor, "changed_at": held.updated_at}
