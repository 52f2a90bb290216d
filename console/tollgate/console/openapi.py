"""The API's description: what FastAPI knows of each route, and what holds for all of them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from tollgate.console.access.callers import Allow
from tollgate.console.problems import PROBLEM_JSON, ProblemBody
from tollgate.console.vocabulary import meaning_of

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

TAGS: Final = {
    "dashboard": "What the first page shows, in one answer.",
    "budgets": "Limits on what a scope may spend in a window, where each stands, and what a change would do.",
    "plans": "What users are subscribed to, and who has which plan.",
    "credits": "Product tokens of a user: what they have, what they were granted, and grants.",
    "users": "One user: what they have used and spent, and whether they are blocked.",
    "spend": "What a scope has spent in one window, exactly as the worker counts it.",
    "sums": "Costs by day, month and name, and where they are going.",
    "events": "Single usage events with what each of them cost.",
    "flags": "The current decision for each scope: ok, warning, blocked, stopped.",
    "why": "Why calls of a scope are blocked, and what to do about it.",
    "alerts": "Problems that are open now.",
    "reports": "Costs and usage as CSV or JSON, of any size.",
    "prices": "What a unit of usage costs, since when, and how an event is priced.",
    "settings": "What the installation is set to, and the company-wide stop.",
    "tokens": "Who may use the API, and with which role.",
    "audit": "Who changed what, when and why.",
    "dead-letters": "Records that were refused, and sending them again.",
    "status": "Whether Kafka and ClickHouse answer, and how far behind each process is.",
    "stream": "What changes, as server-sent events.",
    "usage": "Reporting usage events over HTTP.",
    "check": "Asking whether a call may go ahead.",
    "reservations": "Setting money or credits aside before a call, and settling or releasing it.",
}
"""What each group of paths is about, by the name of its room."""

_ERROR: Final = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-Id": {
        "description": "The id of this request in the log: the one that you sent, or a new one.",
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": "How many requests are left, and in how many seconds there are more.",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {"description": "How many requests a minute may be made.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
    "ETag": {
        "description": "The version of the record in quotes. Send it as `If-Match` to change this version.",
        "schema": {"type": "string"},
    },
}
_INVALID: Final = "A parameter or the body is not valid; `faults` says where."
# Of answers of every operation, and of those with a body or parameters. A room says more where it knows more.
_COMMON: Final[dict[str, str]] = {
    "401": "No token, or one that is not valid.",
    "403": "The role may not do this, or not with these data.",
    "429": "Too many requests.",
    "503": "Kafka or ClickHouse is away, or too much is asked at once. Try again after `Retry-After` seconds.",
    "default": "Any other error, such as headers that are too large (431) or a body that is too slow (408).",
}
_WITH_PARAMETERS: Final[dict[str, str]] = {
    "400": "The address holds a NUL character, or the body is not JSON.",
    "414": "The path or the query is longer than 16 KiB.",
    "422": _INVALID,
}
_WITH_PATH_PARAMETERS: Final = {"404": "There is nothing at this address, or nothing that you may see."}
_WITH_BODY: Final[dict[str, str]] = {
    "400": "The body is not JSON.",
    "413": "The body is too large.",
    "422": _INVALID,
}
_UNUSED: Final = ("HTTPValidationError", "ValidationError")
# What models are called in clients; in the code the plain names are the records of the topics.
_NAMES: Final = {
    "BudgetShown": "Budget",
    "Page_BudgetShown_": "BudgetPage",
    "PriceShown": "Price",
    "Page_PriceShown_": "PricePage",
    "RateShown": "Rate",
    "TierShown": "Tier",
    "ExplanationShown": "Explanation",
    "LineShown": "ExplanationLine",
    "SettingShown": "Setting",
    "TokenShown": "Token",
    "PlanShown": "Plan",
    "Page_PlanShown_": "PlanPage",
    "AssignmentShown": "Assignment",
    "GrantShown": "Grant",
    "Whose": "ReleaseBody",
    "Page_TokenShown_": "TokenPage",
    "ProblemBody": "Problem",
}
_REFERENCE: Final = "#/components/schemas/"

_Schema = dict[str, Any]


def completed(document: dict[str, Any], rules: dict[str, Allow], more: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The document with the token that each operation takes, its roles as `x-roles`, its errors and headers as they
    are, and the meaning of every field and parameter.

    `rules` are the access rules by method and path, as `GET /api/v1/flags/{scope}`; `more` are schemas that routes
    refer to and FastAPI does not know.
    """
    components = document.setdefault("components", {})
    found = components.setdefault("schemas", {})
    found.update(more)
    found[ProblemBody.__name__] = ProblemBody.model_json_schema(ref_template=_REFERENCE + "{model}")
    for name in _UNUSED:
        found.pop(name, None)
    document = _renamed(document)
    components = document["components"]
    components["schemas"] = schemas = {
        _NAMES.get(name, name): schema | {"title": _NAMES.get(name, name)}
        for name, schema in components["schemas"].items()
    }
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    components["headers"] = _HEADERS
    document["info"]["description"] = DESCRIPTION.strip()
    used: set[str] = set()
    for name, operation in _operations(document):
        rule = rules.get(name)
        if rule is not None:
            operation["security"] = [{"bearer": []}]
            operation["x-roles"] = sorted(role.value for role in rule.roles)
        used.update(operation.get("tags", ()))
        _complete_answers(operation)
        for parameter in operation.get("parameters", ()):
            _explain("", parameter["name"], parameter, parameter["schema"])
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items() if name in used]
    for name, schema in schemas.items():
        for field, inner in schema.get("properties", {}).items():
            _explain(name, field, inner, inner)
    _require_what_is_always_there(document)
    return document


def _renamed(node: Any) -> Any:
    """The same, with references to schemas under their public names."""
    if isinstance(node, list):
        return [_renamed(one) for one in node]
    if not isinstance(node, dict):
        return node
    renamed = {key: _renamed(value) for key, value in node.items()}
    reference = renamed.get("$ref")
    if isinstance(reference, str) and reference.startswith(_REFERENCE):
        name = reference.removeprefix(_REFERENCE)
        renamed["$ref"] = _REFERENCE + _NAMES.get(name, name)
    return renamed


def _complete_answers(operation: dict[str, Any]) -> None:
    """Every status that the operation may answer with, each with its headers, and errors as problems."""
    answers = operation["responses"]
    if not operation.get("parameters") and "requestBody" not in operation:
        # A room's answers are those of all its routes together.
        answers.pop("422", None)
    common = (
        _COMMON
        | (_WITH_PARAMETERS if operation.get("parameters") else {})
        | (_WITH_PATH_PARAMETERS if any(one["in"] == "path" for one in operation.get("parameters", ())) else {})
        | (_WITH_BODY if "requestBody" in operation else {})
    )
    for status, text in common.items():
        answers.setdefault(status, {"description": text})
    for status, answer in answers.items():
        headers = ["X-Request-Id"]
        if status == "default" or status >= "400":
            answer["content"] = _problem(answer)
            headers += ["Retry-After"] if status in ("429", "503") else []
        else:
            headers += ["RateLimit", "RateLimit-Policy"]
            headers += ["ETag"] if _has_version(operation) and status != "204" else []
        named = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
        answer["headers"] = named | answer.get("headers", {})
        if status == "422" and answer["description"] == "Validation Error":
            answer["description"] = _INVALID
    operation["responses"] = dict(sorted(answers.items()))


def _problem(answer: dict[str, Any]) -> dict[str, Any]:
    """The body of an error: a problem, or what the route says of it when it has more members."""
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    if not schema or any(schema.get("$ref") == _REFERENCE + name for name in _UNUSED):
        return _ERROR
    return {PROBLEM_JSON: {"schema": schema}}


def _require_what_is_always_there(document: dict[str, Any]) -> None:
    """Mark every field of what is only in answers as required: an answer leaves none out, also where it is null."""
    schemas = document["components"]["schemas"]
    operations = [operation for _, operation in _operations(document)]
    asked = _reached([operation.get("requestBody") for operation in operations], schemas)
    for name in _reached([operation["responses"] for operation in operations], schemas) - asked:
        if "properties" in schemas[name]:
            schemas[name]["required"] = list(schemas[name]["properties"])


def _reached(node: Any, schemas: dict[str, Any]) -> set[str]:
    """The names of the schemas that are used in a part of the document, or in one of these."""
    found: set[str] = set()
    left = [node]
    while left:
        at = left.pop()
        if isinstance(at, list):
            left += at
        elif isinstance(at, dict):
            left += at.values()
            reference = at.get("$ref")
            name = reference.removeprefix(_REFERENCE) if isinstance(reference, str) else ""
            if name in schemas and name not in found:
                found.add(name)
                left.append(schemas[name])
    return found


def _has_version(operation: dict[str, Any]) -> bool:
    return any(parameter["name"] in ("If-Match", "If-None-Match") for parameter in operation.get("parameters", ()))


def _explain(of: str, name: str, described: _Schema, schema: _Schema) -> None:
    """Give a field of a schema or a parameter the meaning of its name, unless it has one, and an example that fits."""
    meaning = meaning_of(of, name)
    if meaning is None:
        return
    described.setdefault("description", meaning.text)
    if meaning.example is not None and not _has_example(described, schema) and _takes(schema, meaning.example):
        schema["examples"] = [meaning.example]


def _has_example(*parts: _Schema) -> bool:
    found = [one for part in parts for one in (part, *part.get("anyOf", ()))]
    return any(key in one for one in found for key in ("examples", "example", "enum", "$ref", "const"))


def _takes(schema: _Schema, example: object) -> bool:
    kinds: Iterable[_Schema] = (schema, *schema.get("anyOf", ()))
    named = {str: "string", int: "integer", list: "array", dict: "object"}[type(example)]
    return any(kind.get("type") == named for kind in kinds)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation
