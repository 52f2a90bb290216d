"""`POST /usage` when nothing is stored: the answer says what is wrong with each event, as it is described."""

from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from tests.support.live_console import LiveConsole
from tests.support.usage import event

from tollgate.console.document import openapi_document
from tollgate.schemas.tokens import Role

USAGE = "/api/v1/usage"
NEGATIVE = event("negative", data={"usage": {"input_tokens": -1}})
NEGATIVE_TOLD = {"reason": "negative_usage", "error": "data.usage.input_tokens: must not be negative"}
NO_SUBJECT_TOLD = {"reason": "missing_field", "error": "subject: is missing"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document()


@pytest.fixture
async def service() -> httpx.AsyncClient:
    return await LiveConsole().as_role(Role.SERVICE)


def described(document: dict[str, Any], status: int, name: str) -> Draft202012Validator:
    """What the description says of this answer, whose body is of the schema with this name."""
    content = document["paths"][USAGE]["post"]["responses"][str(status)]["content"]
    schema = content["application/problem+json"]["schema"]
    reference = {"$ref": f"#/components/schemas/{name}"}
    assert reference in schema["anyOf"]
    return Draft202012Validator({**reference, "components": document["components"]})


async def test_a_single_event_that_is_refused_names_its_field(
    service: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    answer = await service.post(USAGE, json=NEGATIVE)
    told = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert (told["error"], told["accepted"], told["made"]) == ("all_refused", 0, [])
    assert told["detail"] == "The event was not taken: data.usage.input_tokens: must not be negative."
    assert told["refused"] == [{"index": 0, **NEGATIVE_TOLD}]
    described(document, 422, "NoneTaken").validate(told)


async def test_of_a_list_that_is_refused_every_event_is_told(
    service: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    no_subject = event()
    del no_subject["subject"]
    answer = await service.post(USAGE, json=[no_subject, NEGATIVE])
    told = answer.json()
    assert (answer.status_code, told["accepted"]) == (422, 0)
    assert told["detail"] == "No event was taken; event 0: subject: is missing."
    assert told["refused"] == [{"index": 0, **NO_SUBJECT_TOLD}, {"index": 1, **NEGATIVE_TOLD}]
    described(document, 422, "NoneTaken").validate(told)


async def test_events_that_kafka_did_not_take_are_told_with_their_ids(
    service: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    bare = {"source": "chat-api", "subject": "u-42", "data": event()["data"]}
    answer = await service.post(USAGE, json=[event(), bare, NEGATIVE])
    told = answer.json()
    assert (answer.status_code, told["error"], answer.headers["retry-after"]) == (503, "kafka_unavailable", "2")
    (made,) = told["made"]
    assert made["index"] == 1
    assert made["id"]
    assert made["time"].endswith("Z")
    described(document, 503, "NotStored").validate(told)


def test_a_description_of_another_body_would_be_noticed(document: dict[str, Any]) -> None:
    problem = {"type": "about:blank", "title": "", "status": 422, "error": "", "detail": "", "request_id": ""}
    assert not described(document, 422, "NoneTaken").is_valid(problem)
    assert described(document, 422, "NoneTaken").is_valid(problem | {"accepted": 0, "refused": [], "made": []})
    assert not described(document, 422, "NoneTaken").is_valid(problem | {"accepted": 1, "refused": [], "made": []})
