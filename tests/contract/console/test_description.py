"""The API's description is complete: its paths and names are the public ones, and every part of it is explained."""

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from tollgate.console.document import openapi_document
from tollgate.console.openapi import TAGS
from tollgate.console.vocabulary import MEANINGS

# The public names. A client is generated from them: to change one is to break it.
OPERATIONS: Final = {
    "GET /alerts": "list_alerts",
    "GET /audit": "list_audit",
    "GET /breakdown": "get_breakdown",
    "GET /budgets": "list_budgets",
    "GET /budgets/status": "list_budget_status",
    "DELETE /budgets/{id}": "remove_budget",
    "GET /budgets/{id}": "get_budget",
    "PUT /budgets/{id}": "set_budget",
    "POST /budgets/{id}/preview": "preview_budget",
    "POST /check": "check_call",
    "GET /dashboard": "get_dashboard",
    "GET /dead-letters": "list_dead_letters",
    "POST /dead-letters/replay": "replay_dead_letters",
    "GET /events": "list_events",
    "GET /flags": "list_flags",
    "GET /flags/{scope}": "get_flag",
    "GET /me": "get_me",
    "GET /plans": "list_plans",
    "GET /plans/{id}": "get_plan",
    "PUT /plans/{id}": "set_plan",
    "POST /reservations": "reserve",
    "POST /reservations/{id}/settle": "settle_reservation",
    "POST /reservations/{id}/release": "release_reservation",
    "GET /users/{id}/plan": "get_user_plan",
    "PUT /users/{id}/plan": "set_user_plan",
    "GET /users/{id}/credits": "get_user_credits",
    "POST /users/{id}/credits": "grant_credits",
    "GET /prices": "list_prices",
    "PUT /prices": "set_price",
    "POST /prices/explain": "explain_price",
    "DELETE /prices/{id}": "remove_price",
    "GET /projections": "get_projection",
    "GET /reports/export": "export_report",
    "GET /settings": "get_settings",
    "GET /settings/{name}": "get_setting",
    "PUT /settings/{name}": "set_setting",
    "GET /spend": "get_spend",
    "GET /status": "get_status",
    "GET /stream": "follow_stream",
    "GET /summaries/daily": "get_daily_summary",
    "GET /summaries/monthly": "get_monthly_summary",
    "GET /tokens": "list_tokens",
    "POST /tokens": "create_token",
    "DELETE /tokens/{id}": "revoke_token",
    "GET /top": "get_top",
    "GET /trends": "get_trend",
    "POST /usage": "report_usage",
    "GET /users/{id}": "get_user",
    "GET /users/{id}/usage": "get_user_usage",
    "GET /why/{scope}": "explain_scope",
}
# Their features do not exist; a path that does nothing would be believed.
ABSENT: Final = (
    *("revenue", "margin", "saving", "channel", "correction", "reconcil"),
    *("stripe", "/ack", "/snooze"),
)

Described = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document()


def operations(document: dict[str, Any]) -> Iterator[Described]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path.removeprefix('/api/v1')}", operation


def fields(document: dict[str, Any]) -> Iterator[Described]:
    for name, schema in document["components"]["schemas"].items():
        for field, inner in schema.get("properties", {}).items():
            yield f"{name}.{field}", inner


def parameters(document: dict[str, Any]) -> Iterator[Described]:
    for name, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            yield f"{name} {parameter['name']}", parameter


def test_the_paths_and_the_names_of_operations_are_the_public_ones(document: dict[str, Any]) -> None:
    assert {name: operation["operationId"] for name, operation in operations(document)} == OPERATIONS


def test_what_does_not_exist_has_no_path(document: dict[str, Any]) -> None:
    assert [path for path in document["paths"] for word in ABSENT if word in path] == []


def test_every_group_is_described_and_used(document: dict[str, Any]) -> None:
    used = {tag for _, operation in operations(document) for tag in operation["tags"]}
    assert {tag["name"] for tag in document["tags"]} == used == set(TAGS)


def test_every_field_and_parameter_is_described(document: dict[str, Any]) -> None:
    found = [*fields(document), *parameters(document)]
    assert len(found) > 500
    assert [name for name, described in found if not described.get("description")] == []


def test_every_meaning_is_of_something(document: dict[str, Any]) -> None:
    names = {name for name, _ in fields(document)} | {name.split(".")[1] for name, _ in fields(document)}
    names |= {parameter["name"] for _, parameter in parameters(document)}
    assert set(MEANINGS) - names == set()


def test_every_default_and_example_is_one(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    found = [*fields(document), *((name, parameter["schema"]) for name, parameter in parameters(document))]
    found += schemas.items()
    wrong = []
    for name, schema in found:
        checked = Draft202012Validator(schema | {"components": document["components"]})
        given = [*schema.get("examples", ()), *([schema["default"]] if "default" in schema else [])]
        wrong += [(name, value) for value in given if not checked.is_valid(value)]
    assert wrong == []


def test_every_list_is_a_page(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if not operation["operationId"].startswith("list_"):
            continue
        (_, reference) = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)
        page = document["components"]["schemas"][reference]["properties"]
        assert {"items", "next_cursor"} <= page.keys(), name
        asked = {parameter["name"] for parameter in operation["parameters"]}
        assert {"limit", "cursor"} <= asked, name


def test_names_are_written_as_in_the_topics(document: dict[str, Any]) -> None:
    assert [name for name, _ in fields(document) if not re.fullmatch(r"\w+\.[a-z][a-z0-9_]*", name)] == []


def test_every_answer_that_asks_to_wait_says_how_long(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status in ("429", "503"):
            assert "Retry-After" in operation["responses"][status]["headers"], (name, status)
        assert all("X-Request-Id" in answer["headers"] for answer in operation["responses"].values()), name
