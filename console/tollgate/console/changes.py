"""Changes of control records by a request: who, why, of which version, and once."""

from typing import Annotated, Any

from fastapi import Header, Query

from tollgate.console.access.callers import Caller
from tollgate.console.idempotency import repeated, store_key
from tollgate.console.problems import Problem
from tollgate.console.versions import conflict, expected_version, required_version, tag
from tollgate.control import (
    Changed,
    ControlStore,
    Held,
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


async def put_record(
    control: ControlStore,
    caller: Caller,
    key: str,
    value: dict[str, Any],
    name: str,
    *,
    reason: str,
    if_match: str | None,
    if_none_match: str | None = None,
    idempotency_key: str | None = None,
) -> Changed:
    """Create the record, or replace the version in If-Match. `name` is what its kind is called, such as `budget`.

    Raises Problem: 428 when there is one and neither header is given, 412 with If-None-Match, 409 when the version is
    another one, 422.
    """
    if if_match is not None and if_none_match is not None:
        raise Problem(422, "invalid_if_match", "Send If-Match or If-None-Match, not both.")
    # Without If-Match there must be none. The store knows whether this very request has made it already.
    expected = 0 if if_match is None else expected_version(if_match, control.get(key), name)
    try:
        return await control.change(
            key,
            value,
            actor=caller.name,
            reason=reason,
            expect_version=expected,
            idempotency_key=store_key(caller, idempotency_key),
            request=_request("PUT", key, value, reason, if_match),
        )
    except VersionConflictError as error:
        if if_match is None:
            raise _exists(error, name, if_none_match) from None
        raise conflict(error, name) from None
    except RepeatedKeyError:
        raise repeated() from None
    except InvalidRecordError as error:
        raise Problem(422, "invalid_request", f"{error}") from None


async def remove_record(
    control: ControlStore,
    caller: Caller,
    key: str,
    name: str,
    *,
    reason: str,
    if_match: str | None,
    idempotency_key: str | None = None,
) -> Changed:
    """Remove the version in If-Match. Raises Problem: 404, 428 without If-Match, 409, 422."""
    held = control.get(key)
    if held is not None:
        expected = required_version(if_match, held, name)
    else:
        # Perhaps an earlier request with the same Idempotency-Key has removed it: the store knows.
        expected = 0 if if_match is None else expected_version(if_match, held, name)
    try:
        return await control.change(
            key,
            None,
            actor=caller.name,
            reason=reason,
            expect_version=expected,
            idempotency_key=store_key(caller, idempotency_key),
            request=_request("DELETE", key, None, reason, if_match),
        )
    except NoRecordError:
        raise unknown(name) from None
    except VersionConflictError as error:
        raise (conflict(error, name) if error.held is not None else unknown(name)) from None
    except RepeatedKeyError:
        raise repeated() from None
    except InvalidRecordError as error:
        raise Problem(422, "invalid_request", f"{error}") from None


def unknown(name: str) -> Problem:
    """There is none of this id, or the caller may not know of it."""
    return Problem(404, "not_found", f"There is no {name} of this id.")


def _exists(error: VersionConflictError, name: str, if_none_match: str | None) -> Problem:
    held = error.held
    more: dict[str, Any] = {"version": error.found, **_who(held)}
    headers = {"ETag": tag(error.found)}
    if if_none_match is not None:
        return Problem(412, "exists", f"There is a {name} of this id already.", headers=headers, **more)
    detail = f'There is a {name} of this id. Send If-Match: "{error.found}" to change it.'
    return Problem(428, "version_required", detail, headers=headers, **more)


def _who(held: Held | None) -> dict[str, str]:
    return {} if held is None else {"changed_by": held.actor, "changed_at": held.updated_at}


def _request(method: str, key: str, value: dict[str, Any] | None, reason: str, if_match: str | None) -> str:
    """What is asked for, so that the same request is known again whatever the record has become meanwhile."""
    return repr((method, key, value, reason, if_match))
