"""Usage from real OpenTelemetry spans: every call of a model once, under any of the names in use."""

import threading
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, set_span_in_context

from tollgate.sdk.context import call_context
from tollgate.sdk.otel import TollgateSpanProcessor
from tollgate.sdk.testing import AsyncRecordingTollgate, RecordingTollgate

CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
}
AGENT: dict[str, Any] = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "SEO"}


def tokens(given: int, answered: int) -> dict[str, int]:
    return {"gen_ai.usage.input_tokens": given, "gen_ai.usage.output_tokens": answered}


@pytest.fixture
def toll() -> RecordingTollgate:
    return RecordingTollgate()


@pytest.fixture
def tracer(toll: RecordingTollgate) -> Any:
    return provider_of(TollgateSpanProcessor(toll)).get_tracer("tests")


def provider_of(*processors: Any, service: str = "chat-api") -> TracerProvider:
    provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
    for processor in processors:
        provider.add_span_processor(processor)
    return provider


def usages(toll: RecordingTollgate) -> list[tuple[int, int]]:
    """Input and output tokens of every event."""
    amounts = [event.data["usage"] for event in toll.events]
    return [(usage.get("input_tokens", 0), usage.get("output_tokens", 0)) for usage in amounts]


def test_a_call_becomes_one_event_with_all_that_its_span_says(toll: RecordingTollgate, tracer: Any) -> None:
    with tracer.start_as_current_span(
        "chat gpt-4o", attributes=CHAT, start_time=1_764_000_000_000_000_000, end_on_exit=False
    ) as span:
        span.set_attributes(
            tokens(1200, 300)
            | {
                "gen_ai.usage.cache_read.input_tokens": 1000,
                "gen_ai.usage.cache_creation.input_tokens": 50,
                "gen_ai.usage.reasoning.output_tokens": 100,
                "gen_ai.response.model": "gpt-4o-2024-08-06",
                "gen_ai.response.id": "chatcmpl-1",
                "enduser.id": "u-42",
                "gen_ai.agent.name": "SEO",
            }
        )
    span.end(end_time=1_764_000_000_812_345_678)
    (event,) = toll.events
    context = span.get_span_context()
    assert event.id == f"otel-{context.trace_id:032x}-{context.span_id:016x}"
    # 1,764,000,000 s after the epoch, and 812 ms.
    assert (event.user, event.time) == ("u-42", "2025-11-24T16:00:00.812Z")
    assert event.data == {
        "service": "chat-api",
        "agent": "SEO",
        "provider": "openai",
        "model": "gpt-4o",
        "operation": "chat",
        "request_id": "chatcmpl-1",
        "latency_ms": 812,
        "usage": {
            "input_tokens": 1200,
            "cached_input_tokens": 1000,
            "cache_write_tokens": 50,
            "output_tokens": 300,
            "reasoning_tokens": 100,
        },
    }


@pytest.mark.parametrize(
    ("attributes", "usage"),
    [
        # The conventions before 1.27, OpenLLMetry and OpenInference.
        (
            {"gen_ai.usage.prompt_tokens": 7, "gen_ai.usage.completion_tokens": 3},
            {"input_tokens": 7, "output_tokens": 3},
        ),
        ({"llm.usage.prompt_tokens": 7, "llm.usage.completion_tokens": 3}, {"input_tokens": 7, "output_tokens": 3}),
        (
            {
                "llm.token_count.prompt": 7,
                "llm.token_count.completion": 3,
                "llm.token_count.prompt_details.cache_read": 5,
                "llm.token_count.completion_details.reasoning": 2,
            },
            {"input_tokens": 7, "cached_input_tokens": 5, "output_tokens": 3, "reasoning_tokens": 2},
        ),
        # Both names of one amount are one amount, and the current one counts.
        (
            {"gen_ai.usage.input_tokens": 8, "gen_ai.usage.prompt_tokens": 7, "llm.token_count.prompt": 7},
            {"input_tokens": 8},
        ),
        # What was cached is reported beside the input, which it cannot be inside: 3 + 5,758 + 6,174.
        (
            {
                "gen_ai.usage.input_tokens": 3,
                "gen_ai.usage.cache_read_input_tokens": 5758,
                "gen_ai.usage.cache_creation_input_tokens": 6174,
            },
            {"input_tokens": 11935, "cached_input_tokens": 5758, "cache_write_tokens": 6174},
        ),
        # Exactly as much as the whole is inside it.
        (
            {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.cache_read.input_tokens": 10},
            {"input_tokens": 10, "cached_input_tokens": 10},
        ),
        (
            {"gen_ai.usage.output_tokens": 2, "gen_ai.usage.reasoning.output_tokens": 9},
            {"output_tokens": 11, "reasoning_tokens": 9},
        ),
        # Numbers that came as text or as floats, and what is no amount.
        (
            {"gen_ai.usage.input_tokens": "12", "gen_ai.usage.output_tokens": 3.0},
            {"input_tokens": 12, "output_tokens": 3},
        ),
        (
            {
                "gen_ai.usage.input_tokens": 5,
                "gen_ai.usage.output_tokens": -3,
                "gen_ai.usage.cache_read.input_tokens": 1.5,
                "gen_ai.usage.reasoning.output_tokens": float("nan"),
                "gen_ai.usage.cache_creation.input_tokens": True,
                "gen_ai.usage.completion_tokens": "many",
                "gen_ai.usage.details.input_audio_tokens": 10**18,
            },
            {"input_tokens": 5},
        ),
    ],
)
def test_every_way_of_reporting_tokens_is_understood(
    toll: RecordingTollgate, tracer: Any, attributes: dict[str, Any], usage: dict[str, int]
) -> None:
    tracer.start_span("chat", attributes=CHAT | attributes).end()
    assert [event.data["usage"] for event in toll.events] == [usage]


@pytest.mark.parametrize(
    ("provider", "asked", "answering", "named"),
    [
        ("anthropic", "claude-sonnet-4-6", None, ("anthropic", "claude-sonnet-4-6")),
        ("gcp.gemini", "gemini-2.5-pro", "gemini-2.5-pro-001", ("google", "gemini-2.5-pro")),
        ("az.ai.openai", "prod-1", "gpt-4o", ("azure", "gpt-4o")),
        ("X_AI", "grok-4", None, ("xai", "grok-4")),
        ("openai", None, "gpt-4o", ("openai", "gpt-4o")),
        (None, None, None, ("unknown", "unknown")),
    ],
)
def test_providers_and_models_have_one_name(
    toll: RecordingTollgate,
    tracer: Any,
    provider: str | None,
    asked: str | None,
    answering: str | None,
    named: tuple[str, str],
) -> None:
    for names in (
        ("gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model"),
        ("gen_ai.system", "gen_ai.request.model", "gen_ai.response.model"),
        ("llm.provider", "llm.model_name", "llm.response.model"),
    ):
        given = dict(zip(names, (provider, asked, answering), strict=True))
        attributes = {name: value for name, value in given.items() if value is not None}
        tracer.start_span("call", attributes=attributes | tokens(1, 1)).end()
    assert [(event.data["provider"], event.data["model"]) for event in toll.events] == [named] * 3


def test_an_agent_that_repeats_the_sum_of_its_calls_is_not_counted_again(toll: RecordingTollgate, tracer: Any) -> None:
    with (
        tracer.start_as_current_span(
            "workflow", attributes={"gen_ai.operation.name": "invoke_workflow"} | tokens(113, 11)
        ),
        tracer.start_as_current_span("agent", attributes=AGENT | CHAT | AGENT | tokens(113, 11)),
    ):
        for amounts in (tokens(56, 5), tokens(57, 6)):
            with (
                tracer.start_as_current_span("http"),
                tracer.start_as_current_span("chat", attributes=CHAT | amounts),
            ):
                pass
    assert usages(toll) == [(56, 5), (57, 6)]
    assert [event.data["agent"] for event in toll.events] == ["SEO", "SEO"]


def test_two_layers_that_tell_of_one_call_are_one_call(toll: RecordingTollgate, tracer: Any) -> None:
    with tracer.start_as_current_span("langchain chat", attributes=CHAT | tokens(56, 5)):
        tracer.start_span("openai chat", attributes=CHAT | tokens(56, 5)).end()
    assert usages(toll) == [(56, 5)]


def test_an_agent_without_calls_of_its_own_is_counted(toll: RecordingTollgate, tracer: Any) -> None:
    with tracer.start_as_current_span("agent", attributes=AGENT | tokens(9, 1)):
        tracer.start_span("http").end()
    (event,) = toll.events
    assert (event.data["agent"], event.data.get("model")) == ("SEO", None)
    assert usages(toll) == [(9, 1)]


def test_a_call_that_runs_a_tool_with_calls_of_its_own_is_counted_beside_them(
    toll: RecordingTollgate, tracer: Any
) -> None:
    with tracer.start_as_current_span("call_llm", attributes=CHAT | tokens(100, 10) | {"user.id": "u-1"}):
        # This framework says what the span is in its name, and in an attribute when the tool is done.
        tool = tracer.start_span("execute_tool search")
        agent = tracer.start_span("agent", context=set_span_in_context(tool), attributes=AGENT | tokens(50, 5))
        tracer.start_span("chat", context=set_span_in_context(agent), attributes=CHAT | tokens(50, 5)).end()
        agent.end()
        tool.set_attribute("gen_ai.operation.name", "execute_tool")
        tool.end()
    assert usages(toll) == [(50, 5), (100, 10)]
    assert [event.user for event in toll.events] == ["u-1", "u-1"]


def test_a_call_that_ends_after_its_agent_is_counted_and_the_agent_is_not(toll: RecordingTollgate, tracer: Any) -> None:
    with tracer.start_as_current_span("agent", attributes=AGENT | tokens(56, 5)):
        stream = tracer.start_span("chat", attributes=CHAT)
    assert toll.events == []
    stream.set_attributes(tokens(56, 5))
    stream.end()
    assert usages(toll) == [(56, 5)]


def test_a_call_whose_agent_runs_in_another_process_is_counted_here(toll: RecordingTollgate, tracer: Any) -> None:
    there = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    around = set_span_in_context(NonRecordingSpan(there))
    tracer.start_span("chat", context=around, attributes=CHAT | tokens(1, 1)).end()
    assert toll.events[0].id == "otel-00000000000000000000000000000001-" + toll.events[0].id[-16:]


def test_a_span_that_is_sent_twice_counts_once() -> None:
    first, second = RecordingTollgate(), RecordingTollgate()
    tracer = provider_of(TollgateSpanProcessor(first), TollgateSpanProcessor(second)).get_tracer("tests")
    tracer.start_span("chat", attributes=CHAT | tokens(1, 1)).end()
    # The same identity and the same bytes: the ledger takes the second for a retry.
    assert [event.value for event in first.events] == [event.value for event in second.events]


def test_the_user_is_the_nearest_that_is_told(toll: RecordingTollgate, tracer: Any) -> None:
    def call(**attributes: str) -> None:
        tracer.start_span("chat", attributes=CHAT | tokens(1, 1) | attributes).end()

    call()
    with call_context(user="u-context", campaign="holiday-2024", model="other"):
        call()
        with tracer.start_as_current_span("request", attributes={"enduser.id": "u-root", "user.id": "no"}):
            call()
            call(**{"user.id": "u-span"})
            call(**{"enduser.id": "a\x00b"})
    assert [event.user for event in toll.events] == ["unknown", "u-context", "u-root", "u-span", "u-root"]
    assert toll.events[1].data["campaign"] == "holiday-2024"
    assert toll.events[1].data["model"] == "gpt-4o"


def test_names_hold_where_a_span_began_and_not_where_it_ended(toll: RecordingTollgate, tracer: Any) -> None:
    with call_context(user="u-1"):
        span = tracer.start_span("chat", attributes=CHAT | tokens(1, 1))
    thread = threading.Thread(target=span.end)
    thread.start()
    thread.join()
    assert [event.user for event in toll.events] == ["u-1"]


def test_a_service_may_name_its_spans_itself(toll: RecordingTollgate) -> None:
    def names(span: ReadableSpan) -> dict[str, str]:
        return {"user": str((span.attributes or {})["app.account"]), "feature": "chat"}

    tracer = provider_of(TollgateSpanProcessor(toll, names=names)).get_tracer("tests")
    tracer.start_span("chat", attributes=CHAT | tokens(1, 1) | {"app.account": 7, "user.id": "no"}).end()
    # A function that fails names nothing, and the call is counted all the same.
    tracer.start_span("chat", attributes=CHAT | tokens(1, 1) | {"user.id": "u-1"}).end()
    assert [(event.user, event.data.get("feature")) for event in toll.events] == [("7", "chat"), ("u-1", None)]


@pytest.mark.parametrize(
    ("kind", "status"), [("timeout", "error"), ("RateLimitError", "rate_limited"), ("429", "rate_limited")]
)
def test_a_call_that_failed_costs_nothing_unless_it_used_something(
    toll: RecordingTollgate, tracer: Any, kind: str, status: str
) -> None:
    for attributes in (CHAT, CHAT | tokens(5, 0)):
        span = tracer.start_span("chat", attributes=attributes | {"error.type": kind})
        span.set_status(Status(StatusCode.ERROR))
        span.end()
    assert [(event.data["usage"], event.data["status"], event.data.get("billed")) for event in toll.events] == [
        ({}, status, None),
        ({"input_tokens": 5}, status, True),
    ]


def test_a_call_that_failed_is_told_by_the_layer_that_names_its_model(toll: RecordingTollgate, tracer: Any) -> None:
    with tracer.start_as_current_span("chat", attributes=CHAT) as outer:
        inner = tracer.start_span("ChatCompletion", attributes={"openinference.span.kind": "LLM"})
        for span in (inner, outer):
            span.set_status(Status(StatusCode.ERROR))
        inner.end()
    assert [(event.data["model"], event.data["status"]) for event in toll.events] == [("gpt-4o", "error")]


def test_spans_without_usage_are_no_calls(toll: RecordingTollgate, tracer: Any) -> None:
    with tracer.start_as_current_span("GET /", attributes={"http.request.method": "GET"}):
        tracer.start_span("chat", attributes=CHAT).end()
        tracer.start_span("chat", attributes=CHAT | tokens(0, 0)).end()
        failed = tracer.start_span("tool", attributes={"gen_ai.operation.name": "execute_tool"})
        failed.set_status(Status(StatusCode.ERROR))
        failed.end()
    assert toll.events == []


def test_hostile_attributes_stop_neither_the_service_nor_the_count(toll: RecordingTollgate, tracer: Any) -> None:
    attributes = {
        "gen_ai.provider.name": "open\x1bai",
        "gen_ai.request.model": "m" * 257,
        "gen_ai.response.model": "gpt-4o",
        "enduser.id": ["a", "b"],
        "gen_ai.agent.name": "\ud800",
        "gen_ai.operation.name": "",
        "gen_ai.response.id": "\u0085",
    }
    tracer.start_span("chat", attributes=attributes | tokens(2, 1)).end()
    (event,) = toll.events
    assert (event.user, event.data["provider"], event.data["model"]) == ("unknown", "unknown", "gpt-4o")
    assert usages(toll) == [(2, 1)]


def test_a_closed_client_does_not_stop_the_service(
    toll: RecordingTollgate, tracer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    toll.close()
    tracer.start_span("chat", attributes=CHAT | tokens(1, 1)).end()
    assert "the usage of a span is not recorded: the client is closed" in caplog.text


def test_it_works_beside_an_exporter_and_flushes_with_the_provider(toll: RecordingTollgate) -> None:
    exporter = InMemorySpanExporter()
    provider = provider_of(SimpleSpanProcessor(exporter), TollgateSpanProcessor(toll), service="unknown_service:python")
    provider.get_tracer("tests").start_span("chat", attributes=CHAT | tokens(1, 1)).end()
    assert provider.force_flush()
    assert "service" not in toll.events[0].data
    assert len(exporter.get_finished_spans()) == 1
    assert TollgateSpanProcessor(AsyncRecordingTollgate()).force_flush()


def test_spans_that_never_end_do_not_fill_the_memory(toll: RecordingTollgate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tollgate.sdk.otel._OPEN_MAX", 3)
    processor = TollgateSpanProcessor(toll)
    tracer = provider_of(processor).get_tracer("tests")
    spans = [tracer.start_span("chat", attributes=CHAT | tokens(1, 1)) for _ in range(10)]
    assert len(processor._open) == 3
    for span in spans:
        span.end()
    assert len(toll.events) == 10
    assert processor._open == {}
