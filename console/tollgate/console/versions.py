"""Versions of records as entity tags: `ETag: "3"`, `If-Match: "3"`, `If-None-Match`."""

import re
from typing import Annotated, Final

from fastapi import Header, Response

from tollgate.console.problems import Problem
from tollgate.control import Held, VersionConflictError
from tollgate.schemas.control import VERSION_MAX

# RFC 9110: a tag may be weak (`W/"3"`); a comparison for changes takes strong ones alone.
_STRONG: Final = re.compile(r'"([0-9]{1,16})"')
_TAG: Final = re.compile(r'\s*(?:W/)?("[^"\x00-\x20\x7f]*")\s*(?:,|\Z)')
_HEADER_CHARS_MAX: Final = 1024

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=_HEADER_CHARS_MAX,
        description='the version that you changed, as `"3"`; leave it away to create',
        examples=['"3"'],
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        max_length=_HEADER_CHARS_MAX,
        description="an ETag that you have: 304 when it is still the present one",
    ),
]


def tag(version: int | str) -> str:
    """The entity tag of a version: 3 is `"3"`."""
    return f'"{version}"'


def expected_version(if_match: str | None, held: Held | None, name: str) -> int:
    """The `expect_version` of a PUT. Raises Problem.

    Without If-Match the record must not exist (0); 428 when it does. With it the version in it, or with `*` the present
    one; 412 when `*` meets no record. The control store compares again when it writes.
    """
    if if_match is None:
        if held is not None:
            detail = f'There is a {name} of this id. Send If-Match: "{held.version}" to change it.'
            raise Problem(428, "version_required", detail, headers={"ETag": tag(held.version)}, version=held.version)
        return 0
    return _matched(if_match, held, name)


def required_version(if_match: str | None, held: Held, name: str) -> int:
    """The `expect_version` of a DELETE of a record that exists: 428 without If-Match. Raises Problem."""
    if if_match is None:
        detail = f'Send If-Match: "{held.version}" to remove this {name}.'
        raise Problem(428, "version_required", detail, headers={"ETag": tag(held.version)}, version=held.version)
    return _matched(if_match, held, name)


def _matched(if_match: str, held: Held | None, name: str) -> int:
    if if_match.strip() == "*":
        if held is None:
            raise Problem(412, "not_found", f"There is no {name} of this id.")
        return held.version
    found = _STRONG.fullmatch(if_match.strip())
    if found is None or not 0 < int(found[1]) <= VERSION_MAX:
        raise Problem(422, "invalid_if_match", 'If-Match: give one version in quotes, such as "3".')
    return int(found[1])


def conflict(error: VersionConflictError, name: str) -> Problem:
    """The 409 of a change whose record was changed by somebody else, with its present version and who made it."""
    held = error.held
    if held is None:
        detail = f"This {name} does not exist any more, or never did."
        return Problem(409, "version_conflict", detail, expected_version=error.expected, version=None)
    detail = f"This {name} was changed to version {held.version} by {held.actor or 'somebody'}. Read it again."
    return Problem(
        409,
        "version_conflict",
        detail,
        headers={"ETag": tag(held.version)},
        expected_version=error.expected,
        version=held.version,
        changed_by=held.actor,
        changed_at=held.updated_at,
    )


def not_modified(response: Response, etag: str, if_none_match: str | None) -> Response | None:
    """A 304 when the caller has this entity tag already; else None, with the tag set on `response`."""
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if if_none_match is not None and (if_none_match.strip() == "*" or etag in _TAG.findall(if_none_match)):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return None
