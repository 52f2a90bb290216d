"""The page `/api/docs`: the OpenAPI document, so that a person can read it."""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from tollgate.console.access.callers import Caller, Role, allow
from tollgate.console.pages.rendering import render
from tollgate.console.room import Entry, Room

# Deeper members are named by their schema alone; schemas may contain themselves.
_DEPTH_MAX: Final = 4
_METHODS: Final = ("get", "post", "put", "patch", "delete")


class Member(NamedTuple):
    """A parameter, or a member of a JSON body; `depth` is how deep it lies."""

    name: str
    kind: str
    required: bool
    text: str
    depth: int = 0
    place: str = ""


class Answer(NamedTuple):
    """A status, what it means, and the members of its body."""

    status: str
    text: str
    members: list[Member]


class Operation(NamedTuple):
    """One method of one path."""

    id: str
    method: str
    path: str
    summary: str
    text: str
    parameters: list[Member]
    body: list[Member]
    answers: list[Answer]
    curl: str


def groups(document: dict[str, Any], host: str) -> dict[str, list[Operation]]:
    """The operations by their tag, in the order of the document."""
    found: dict[str, list[Operation]] = {}
    for path, methods in document.get("paths", {}).items():
        for method in _METHODS:
            if method in methods:
                tag = (methods[method].get("tags") or ["other"])[0]
                found.setdefault(tag, []).append(_operation(document, path, method, methods[method], host))
    return found


def _operation(document: dict[str, Any], path: str, method: str, told: dict[str, Any], host: str) -> Operation:
    parameters = [
        Member(one["name"], _kind(one.get("schema", {})), one.get("required", False), _text(one), place=one["in"])
        for one in told.get("parameters", [])
    ]
    body = _json_schema(told.get("requestBody", {}))
    answers = [
        Answer(status, one.get("description", ""), list(_members(document, _json_schema(one))))
        for status, one in told.get("responses", {}).items()
    ]
    return Operation(
        id=re.sub(r"[^a-z0-9]+", "-", f"{method}{path}".lower()).strip("-"),
        method=method.upper(),
        path=path,
        summary=told.get("summary", ""),
        text=told.get("description", ""),
        parameters=parameters,
        body=list(_members(document, body)),
        answers=answers,
        curl=_curl(document, path, method, body, host),
    )


def _json_schema(holder: dict[str, Any]) -> dict[str, Any]:
    contents: dict[str, Any] = holder.get("content", {})
    chosen: dict[str, Any] = next((one for kind, one in contents.items() if "json" in kind), {})
    schema: dict[str, Any] = chosen.get("schema", {})
    return schema


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema behind a reference, and the only real one of `X or null`."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return _resolved(document, document["components"]["schemas"][name])
    real = [one for one in schema.get("anyOf", []) if one.get("type") != "null"]
    return _resolved(document, real[0]) if len(real) == 1 else schema


def _members(document: dict[str, Any], schema: dict[str, Any], depth: int = 0) -> Iterator[Member]:
    whole = _resolved(document, schema)
    if whole.get("type") == "array":
        whole = _resolved(document, whole.get("items", {}))
    if depth == _DEPTH_MAX:
        return
    required = whole.get("required", [])
    for name, one in whole.get("properties", {}).items():
        yield Member(name, _kind(one), name in required, _text({**_resolved(document, one), **one}), depth)
        yield from _members(document, one, depth + 1)


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    kind = schema.get("type", "any")
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)


def _text(told: dict[str, Any]) -> str:
    schema = told.get("schema", {})
    text = told.get("description") or schema.get("description", "")
    choices = told.get("enum") or schema.get("enum")
    return f"{text} One of: {', '.join(map(str, choices))}.".strip() if choices else text


def _curl(document: dict[str, Any], path: str, method: str, body: dict[str, Any], host: str) -> str:
    lines = [f"curl -X {method.upper()} {host}{path}", '-H "Authorization: Bearer $TOKEN"']
    if body:
        example = json.dumps(_example(document, body), ensure_ascii=True)
        lines += ['-H "Content-Type: application/json"', "-d '" + example.replace("'", r"'\''") + "'"]
    return " \\\n  ".join(lines)


def _example(document: dict[str, Any], schema: dict[str, Any], depth: int = 0) -> Any:
    whole = _resolved(document, schema)
    for holder in (schema, whole):
        if holder.get("examples"):
            return holder["examples"][0]
    if whole.get("enum"):
        return whole["enum"][0]
    if whole.get("type") == "object" or "properties" in whole:
        required = whole.get("required", [])
        shown = {name: one for name, one in whole.get("properties", {}).items() if name in required}
        return {name: _example(document, one, depth + 1) for name, one in shown.items()} if depth < _DEPTH_MAX else {}
    if whole.get("type") == "array":
        return [_example(document, whole.get("items", {}), depth + 1)] if depth < _DEPTH_MAX else []
    return {"integer": 1, "number": 1, "boolean": True}.get(str(whole.get("type")), "…")


router = APIRouter()


@router.get("/api/docs")
def show(
    request: Request, caller: Annotated[Caller, Depends(allow(Role.VIEWER, Role.USER, Role.SERVICE))]
) -> HTMLResponse:
    """The reference of the API."""
    host = str(request.base_url).rstrip("/")
    return render(request, caller, "api_reference.html", groups=groups(request.app.openapi(), host))


ROOM: Final = Room(
    "api reference",
    pages=router,
    entries=(Entry("API", "/api/docs", "docs", frozenset({Role.VIEWER, Role.ANALYST, Role.ADMIN})),),
)
