"""What a service pays for a call of other clients, in microseconds: LiteLLM's cost of a call, a span of OpenTelemetry.

Prints a line of JSON for each. Nothing is sent: the spans are kept in memory.
"""

import json
import os
import time
from collections.abc import Callable

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

CALLS = 20_000


def measured(work: Callable[[], object]) -> dict[str, float]:
    """The percentiles of a call."""
    for _ in range(1000):
        work()
    took = []
    for _ in range(CALLS):
        before = time.perf_counter_ns()
        work()
        took.append(time.perf_counter_ns() - before)
    took.sort()
    return {"p50_us": took[CALLS // 2] / 1000, "p99_us": took[CALLS * 99 // 100] / 1000}


def cost() -> object:
    return litellm.cost_per_token(model="gpt-4o", prompt_tokens=1200, completion_tokens=300)


provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
tracer = provider.get_tracer("bench")


def span() -> None:
    with tracer.start_as_current_span("chat gpt-4o") as current:
        current.set_attribute("gen_ai.provider.name", "openai")
        current.set_attribute("gen_ai.request.model", "gpt-4o")
        current.set_attribute("gen_ai.usage.input_tokens", 1200)
        current.set_attribute("gen_ai.usage.output_tokens", 300)
        current.set_attribute("user.id", "u-42")


if __name__ == "__main__":
    print(json.dumps({"peer": "LiteLLM cost_per_token", **measured(cost)}))
    print(json.dumps({"peer": "OpenTelemetry span", **measured(span)}))
    provider.shutdown()
