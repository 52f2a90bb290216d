"""The API's description: what FastAPI knows of each route, and what holds for all of them."""

from collections.abc import Iterator
from typing import Any, Final

from tollgate.console.access.callers import Allow
from tollgate.console.problems import PROBLEM_JSON, ProblemBody

DESCRIPTION: Final = """
Spend, budgets, decisions and usage of one Tollgate installation.

- Send a token: `Authorization: Bearer …`, an own one (`tollgate token create`) or a JWT of your identity provider.
- Money and other amounts are decimal strings, times RFC 3339 in UTC.
- Errors are RFC 9457 `application/problem+json`. `error` is for programs, `detail` for people, and `request_id` is the
  answer's header `X-Request-Id`, under which the log has more.
- Lists take `limit` and `cursor`. The answer's `next_cursor` leads to the next page.
- A write with an `Idempotency-Key` is done once, however often it is sent within 24 hours.
- Records with a version are changed with `If-Match: "<version>"`, which is their `ETag`. Somebody else's change in
  between is answered with 409.
- A token may make 100 requests a minute, one of the role `service` 6,000; more are answered with 429 and `Retry-After`.
"""

_ERROR: Final = {PROBLEM_JSON: {"schema": {"$ref": f"#/components/schemas/{ProblemBody.__name__}"}}}
_RETRY: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
_COMMON: Final[dict[str, dict[str, Any]]] = {
    "401": {"description": "No token, or one that is not valid."},
    "403": {"description": "The role may not do this, or not with these data."},
    "429": {"description": "Too many requests.", "headers": _RETRY},
    "default": {"description": "Any other error: an address, a header or a body that is not valid, or a part is away."},
}
_UNUSED: Final = ("HTTPValidationError", "ValidationError")


def completed(document: dict[str, Any], rules: dict[str, Allow]) -> dict[str, Any]:
    """The document with the token that each operation takes, its roles as `x-roles`, and its errors as they are.

    `rules` are the access rules by method and path, as `GET /api/v1/flags/{scope}`.
    """
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas[ProblemBody.__name__] = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
    for name in _UNUSED:
        schemas.pop(name, None)
    document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    document["info"]["description"] = DESCRIPTION.strip()
    for name, operation in _operations(document):
        rule = rules.get(name)
        if rule is not None:
            operation["security"] = [{"bearer": []}]
            operation["x-roles"] = sorted(role.value for role in rule.roles)
        answers = operation["responses"]
        for status, answer in _COMMON.items():
            answers[status] = answer | {k: v for k, v in answers.get(status, {}).items() if k != "content"}
        for status, answer in answers.items():
            if status == "default" or status >= "400":
                answer["content"] = _ERROR
            if status == "422" and answer["description"] == "Validation Error":
                answer["description"] = "A parameter or the body is not valid; `faults` says where."
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation
