"""The API's description says what the API does."""

import asyncio
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from schemathesis.openapi import from_asgi
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.support.console import ConsoleUnderTest, bearer, make_token

from tollgate.console.access.callers import Allow
from tollgate.console.api.tokens import ROOM as TOKENS
from tollgate.console.app import rules
from tollgate.console.rooms import ROOMS
from tollgate.schemas.tokens import Role

OPERATIONS_MIN = 20
# No schema can say which cursors there are, nor that a token of the role user names a user.
UNDESCRIBABLE = [positive_data_acceptance]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return ConsoleUnderTest(ROOMS).app.openapi()


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = [(f"{m.upper()} {path}", o) for path, methods in document["paths"].items() for m, o in methods.items()]
    assert len(found) >= OPERATIONS_MIN
    return found


def test_every_route_of_the_api_is_described_with_its_roles(document: dict[str, Any]) -> None:
    described = {name: operation.get("x-roles") for name, operation in operations(document)}
    for room in ROOMS:
        for path, rule in rules(room):
            name = re.sub(r":path\}", "}", path)
            if " /api/v1/" in name and isinstance(rule, Allow):
                assert described[name] == sorted(role.value for role in rule.roles), name


def test_every_operation_takes_a_token_and_has_a_summary(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["security"] == [{"bearer": []}], name
        assert operation["summary"], name
        assert operation["description"], name


def test_every_error_is_a_problem(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert {"401", "403", "429", "default"} <= set(operation["responses"]), name
        for status, answer in operation["responses"].items():
            if status == "default" or status >= "400":
                assert list(answer["content"]) == ["application/problem+json"], (name, status)
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in re.findall(r"'\$ref': '#/components/schemas/([^']+)'", repr(document)):
        assert reference in document["components"]["schemas"], reference
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)


def test_the_room_of_tokens_answers_as_described() -> None:
    made = ConsoleUnderTest([TOKENS], console_requests_per_minute=1_000_000, console_hosts=asgi.HOST)
    headers = bearer(asyncio.run(make_token(made.control, Role.ADMIN, name="ops")))
    answered: Counter[int] = Counter()
    found: Any
    for found in from_asgi("/api/v1/openapi.json", made.app).get_all_operations():
        operation = found.ok()
        assert operation is not None

        @given(case=operation.as_strategy())
        @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        def check(case: Any) -> None:
            answer = case.call_and_validate(headers=headers, excluded_checks=UNDESCRIBABLE)
            answered[answer.status_code] += 1

        check()
    assert {200, 201, 404} <= set(answered), answered
