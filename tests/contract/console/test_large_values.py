"""A value of any size in any field of any body, and in any address, is refused at once and not repeated."""

import copy
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
from tests.support.live_console import LiveConsole

from tollgate.console.document import openapi_document
from tollgate.schemas.tokens import Role

DIGITS: Final = 1_000_000
# On a machine that does much else; a quadratic reader needs minutes.
SECONDS_MAX: Final = 10
ANSWER_BYTES_MAX: Final = 4000

BODIES: Final[dict[str, Any]] = {
    "POST /api/v1/usage": {
        "source": "chat-api",
        "subject": "u-7",
        "id": "call-1",
        "time": "2026-11-21T10:00:00Z",
        "data": {"provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 1}, "cost_usd": "1"},
    },
    "POST /api/v1/check": {"user": "u-7", "model": "gpt-4o", "estimate_usd": "0.02"},
    "PUT /api/v1/budgets/{id}": {"scope": "user/u-7", "limit": "100", "thresholds": {"warning": {"percent": "80"}}},
    "POST /api/v1/budgets/{id}/preview": {"scope": "user/u-7", "limit": "100", "timezone": "UTC"},
    "PUT /api/v1/prices": {
        "provider": "openai",
        "model": "gpt-4o",
        "rates": [{"dimension": "images", "usd": "2.5", "per": "1"}],
        "effective_from": "2026-12-01T00:00:00Z",
    },
    "POST /api/v1/prices/explain": {"provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 1}},
    "PUT /api/v1/settings/{name}": {"value": {"stopped": False}, "reason": "a test"},
    "POST /api/v1/tokens": {"role": "viewer", "name": "n", "expires_in_days": 1},
    "POST /api/v1/dead-letters/replay": {"place": "0:17"},
    "POST /api/v1/reservations": {
        "source": "chat-api", "user": "u-7", "id": "call-1", "amount_usd": "0.10", "credits": "5", "ttl_seconds": 60,
        "model": "gpt-4o",
    },
    "POST /api/v1/reservations/{id}/settle": {
        "source": "chat-api", "user": "u-7", "id": "call-1", "time": "2026-11-21T10:00:00Z", "provider": "openai",
        "model": "gpt-4o", "usage": {"input_tokens": 1},
    },
    "POST /api/v1/reservations/{id}/release": {"source": "chat-api", "user": "u-7"},
    "POST /api/v1/users/{id}/credits": {
        "credits": "5", "kind": "bonus", "expires_at": "2027-01-01T00:00:00Z", "note": "n", "id": "g-1",
    },
    "PUT /api/v1/plans/{id}": {
        "name": "n", "price_usd": "9",
        "limits": [{"feature": "video", "unit": "events", "limit": "10", "window": "month"}],
        "credits_per_day": "10",
    },
    "PUT /api/v1/users/{id}/plan": {"plan": "free", "timezone": "UTC", "month_starts_on": 1},
}  # fmt: skip


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in openapi_document()["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def with_each_value(node: Any, value: Any) -> Iterator[Any]:
    """The document with each of its texts and numbers in turn replaced by the value."""
    if isinstance(node, dict | list):
        for place, inner in node.items() if isinstance(node, dict) else enumerate(node):
            for changed in with_each_value(inner, value):
                whole = copy.copy(node)
                whole[place] = changed
                yield whole
    else:
        yield value


@pytest.fixture
async def console() -> AsyncIterator[LiveConsole]:
    made = LiveConsole(console_requests_per_minute=1_000_000)
    yield made
    await made.numbers.stop()


def test_every_body_is_in_the_table() -> None:
    assert {name for name, operation in operations() if "requestBody" in operation} == set(BODIES)


@pytest.mark.parametrize("name", BODIES)
async def test_a_million_digits_in_any_field_are_refused(console: LiveConsole, name: str) -> None:
    admin = await console.as_role(Role.ADMIN)
    method, path = name.replace("{id}", "b").replace("{name}", "stop").split()
    number = "9" * DIGITS
    for given in with_each_value(BODIES[name], "here"):
        text = json.dumps(given)
        for value in (f'"{number}"', number):
            began = time.monotonic()
            answer = await admin.request(
                method, path, content=text.replace('"here"', value), headers={"Content-Type": "application/json"}
            )
            assert time.monotonic() - began < SECONDS_MAX, text
            assert answer.status_code == 422, (text, answer.text[:500])
            assert len(answer.content) < ANSWER_BYTES_MAX, text


@pytest.mark.parametrize("name", BODIES)
async def test_a_field_with_a_name_of_any_length_is_refused_or_ignored(console: LiveConsole, name: str) -> None:
    admin = await console.as_role(Role.ADMIN)
    method, path = name.replace("{id}", "b").replace("{name}", "stop").split()
    answer = await admin.request(method, path, json=BODIES[name] | {"n" * DIGITS: "x"})
    assert answer.status_code in (200, 413, 422, 503), answer.text[:500]
    assert len(answer.content) < ANSWER_BYTES_MAX


async def test_an_address_of_any_length_is_refused(console: LiveConsole) -> None:
    admin = await console.as_role(Role.ADMIN)
    for name, operation in operations():
        method, path = name.split()
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                long = path.replace(f"{{{parameter['name']}}}", "9" * 20_000)
                assert (await admin.request(method, long)).status_code == 414, name
            elif parameter["in"] == "query":
                long = f"{path.replace('{', '').replace('}', '')}?{parameter['name']}="
                assert (await admin.request(method, long + "9" * 20_000)).status_code == 414, name
                # Within the limit of addresses it is the parameter that is too long.
                found = await admin.request(method, long + "9" * 15_000)
                assert found.status_code in (404, 422), (name, parameter["name"], found.text[:300])
                assert len(found.content) < ANSWER_BYTES_MAX, name
