"""Usage from what LiteLLM hands to callbacks. The payloads were captured from LiteLLM 1.110.2, which called a local
server that speaks the APIs of OpenAI and Anthropic; `tests/support/litellm_alone.py` says why it is not installed here.
"""

import asyncio
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from tests.support.litellm_alone import litellm_without_its_weight

from tollgate.sdk.context import call_context
from tollgate.sdk.testing import RecordingTollgate

CAPTURED = json.loads(Path(__file__).with_name("litellm_payloads.json").read_text("utf-8"))


@pytest.fixture
def toll() -> RecordingTollgate:
    return RecordingTollgate()


@pytest.fixture
def logger(toll: RecordingTollgate, monkeypatch: pytest.MonkeyPatch) -> Any:
    return logger_of(toll, monkeypatch)


def logger_of(toll: RecordingTollgate, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    litellm_without_its_weight(monkeypatch)
    from tollgate.sdk.litellm import TollgateLogger

    return TollgateLogger(toll, **options)


def payload(name: str, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = deepcopy(CAPTURED[name]) | changes
    made["metadata"] |= changes.get("metadata", {})
    return made


def succeed(logger: Any, given: dict[str, Any], **details: Any) -> None:
    """As LiteLLM calls it."""
    logger.log_success_event(
        kwargs={"standard_logging_object": given, **details}, response_obj=None, start_time=None, end_time=None
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "completion",
            {
                "provider": "openai",
                "model": "gpt-4o",
                "operation": "completion",
                "request_id": "chatcmpl-8",
                # 1795968715.540260 to 1795968716.258056
                "latency_ms": 717,
                "usage": {
                    "input_tokens": 1200,
                    "output_tokens": 300,
                    "cached_input_tokens": 1000,
                    "reasoning_tokens": 100,
                },
            },
        ),
        (
            "anthropic",
            {
                "provider": "anthropic",
                "model": "claude-sonnet-4-6",
                "operation": "completion",
                "request_id": "chatcmpl-3b005440-b95f-4e77-bed7-9759e7709a47",
                "latency_ms": 1265,
                # The server answered 3 input tokens, 5,758 read from its cache and 6,174 written to it.
                "usage": {
                    "input_tokens": 11935,
                    "output_tokens": 50,
                    "cached_input_tokens": 5758,
                    "cache_write_tokens": 6174,
                    "cache_write_5m_tokens": 6000,
                    "cache_write_1h_tokens": 174,
                    "web_searches": 2,
                },
            },
        ),
        (
            "embedding",
            {
                "provider": "openai",
                "model": "text-embedding-3-small",
                "operation": "embedding",
                "request_id": "c2e88453-e639-461e-a60d-461eb00d4012",
                "latency_ms": 19,
                "usage": {"input_tokens": 7},
            },
        ),
        (
            "image",
            {
                "provider": "openai",
                "model": "dall-e-3",
                "operation": "image_generation",
                "request_id": "667a1919-0479-4f42-9007-bc0532387d31",
                "latency_ms": 18,
                "usage": {"images": 2},
            },
        ),
    ],
)
def test_a_call_becomes_one_event(toll: RecordingTollgate, logger: Any, name: str, expected: dict[str, Any]) -> None:
    succeed(logger, payload(name), user="u-42")
    (event,) = toll.events
    assert event.user == "u-42"
    assert event.data == expected


def test_a_stream_is_one_event_after_its_end(toll: RecordingTollgate, logger: Any) -> None:
    succeed(logger, payload("stream"), user="u-42")
    (event,) = toll.events
    # 1795968718.727887 s after the epoch.
    assert event.time == "2026-11-29T16:11:58.727Z"
    assert event.data["usage"] == {
        "input_tokens": 1200, "output_tokens": 300, "cached_input_tokens": 1000, "reasoning_tokens": 100
    }  # fmt: skip


async def test_both_callbacks_of_one_call_are_one_event(toll: RecordingTollgate, logger: Any) -> None:
    given = {"standard_logging_object": payload("completion")}
    rest: dict[str, Any] = {"response_obj": None, "start_time": None, "end_time": None}
    await asyncio.gather(
        logger.async_log_success_event(kwargs=given, **rest),
        asyncio.to_thread(logger.log_success_event, kwargs=given, **rest),
    )
    assert len(toll.events) == 1


async def test_calls_that_share_a_call_id_are_each_counted(toll: RecordingTollgate, logger: Any) -> None:
    # Fallbacks do, and a client of the proxy may send the same one with every call.
    rest: dict[str, Any] = {"response_obj": None, "start_time": None, "end_time": None}
    failed = {"standard_logging_object": payload("rate_limited", litellm_call_id="mine")}
    logger.log_failure_event(kwargs=failed, **rest)
    await logger.async_log_failure_event(
        kwargs={"standard_logging_object": payload("rate_limited", litellm_call_id="mine", startTime=1.5)}, **rest
    )
    for name in ("completion", "stream"):
        succeed(logger, payload(name, litellm_call_id="mine"))
    assert len({event.id for event in toll.events}) == 4
    assert [event.data.get("status") for event in toll.events] == ["rate_limited", "rate_limited", None, None]
    # Whatever a client sends as an id makes a usable one.
    succeed(logger, payload("completion", litellm_call_id="\x00\ud800" * 500))
    assert len(toll.events) == 5
    assert {len(event.id) for event in toll.events} == {48}


def test_a_call_that_failed_costs_nothing_unless_it_used_something(toll: RecordingTollgate, logger: Any) -> None:
    for given in (payload("rate_limited"), payload("router_failure", error_information={"error_code": "500"})):
        logger.log_failure_event({"standard_logging_object": given}, None, None, None)
    partly = payload("completion", litellm_call_id="other", error_information=None)
    logger.log_failure_event({"standard_logging_object": partly}, None, None, None)
    said = [(e.data["model"], e.data["status"], e.data["usage"] != {}, e.data.get("billed")) for e in toll.events]
    assert said == [
        ("gpt-4o", "rate_limited", False, None),
        # The router names the provider in the model.
        ("gpt-4o", "error", False, None),
        ("gpt-4o", "error", True, True),
    ]


def test_an_answer_from_the_cache_of_litellm_costs_nothing(toll: RecordingTollgate, logger: Any) -> None:
    succeed(logger, payload("completion", cache_hit=True))
    assert toll.events == []


@pytest.mark.parametrize(
    ("of_key", "end_user", "of_call", "user"),
    [
        ("u-key", "u-end", "u-call", "u-key"),
        (None, "u-end", "u-call", "u-end"),
        (None, None, "u-call", "u-call"),
        ("a\x00b", "", None, "u-context"),
    ],
)
def test_the_user_is_the_one_that_is_known_best(
    toll: RecordingTollgate, logger: Any, of_key: str | None, end_user: str | None, of_call: str | None, user: str
) -> None:
    details: dict[str, Any] = {"user": of_call}
    with call_context(user="u-context", agent="SEO", model="other"):
        logger.log_pre_api_call("gpt-4o", [], details)
    metadata = {"user_api_key_user_id": of_key, "user_api_key_org_id": "acme"}
    succeed(logger, payload("completion", end_user=end_user, metadata=metadata), **details)
    (event,) = toll.events
    assert (event.user, event.data["agent"], event.data["org"]) == (user, "SEO", "acme")
    assert event.data["model"] == "gpt-4o"


def test_a_call_of_nobody_is_counted_for_unknown(toll: RecordingTollgate, logger: Any) -> None:
    succeed(logger, payload("completion"))
    assert toll.events[0].user == "unknown"


def test_a_service_may_name_its_calls_itself(toll: RecordingTollgate, monkeypatch: pytest.MonkeyPatch) -> None:
    def names(given: Any) -> dict[str, str | None]:
        return {"user": given["metadata"]["account"], "feature": "chat", "org": None}

    logger = logger_of(toll, monkeypatch, names=names)
    succeed(logger, payload("completion", metadata={"account": "u-7", "user_api_key_org_id": "acme"}))
    # A function that fails names nothing, and the call is counted all the same.
    succeed(logger, payload("stream"), user="u-1")
    assert [(e.user, e.data.get("feature"), e.data.get("org")) for e in toll.events] == [
        ("u-7", "chat", "acme"),
        ("u-1", None, None),
    ]


def test_options_that_choose_a_price_are_told(toll: RecordingTollgate, logger: Any) -> None:
    succeed(logger, payload("image", model_parameters={"size": "1024x1024", "quality": "hd", "n": 2}))
    tiered = payload("anthropic")
    tiered["metadata"]["usage_object"]["service_tier"] = "batch"
    succeed(logger, tiered)
    assert [event.data["options"] for event in toll.events] == [
        {"size": "1024x1024", "quality": "hd"},
        {"service_tier": "batch"},
    ]


def test_what_cannot_be_recorded_does_not_stop_litellm(
    toll: RecordingTollgate, logger: Any, caplog: pytest.LogCaptureFixture
) -> None:
    logger.log_success_event({}, None, None, None)
    assert "LiteLLM tells nothing of a call" in caplog.text
    toll.close()
    succeed(logger, payload("completion"))
    assert "the usage of a call of LiteLLM is not recorded: the client is closed" in caplog.text


def test_hostile_names_are_left_out(toll: RecordingTollgate, logger: Any) -> None:
    hostile = {"id": "a\x1b", "model": "m" * 300, "call_type": "", "custom_llm_provider": 7, "endTime": "soon"}
    succeed(logger, payload("completion", **hostile), user="u-1")
    (event,) = toll.events
    assert (event.data["provider"], event.data["model"]) == ("unknown", "unknown")
    assert "request_id" not in event.data
