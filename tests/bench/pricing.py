"""How long one event takes to price: `python -m tests.bench.pricing`."""

import json
import sys
from time import perf_counter_ns

from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.usage_codec import EventData

NOW = parse_instant("2026-11-21T10:00:00Z")
ROUNDS = 5
LLM: dict[str, int | str] = {"input_tokens": 1200, "cached_input_tokens": 1000, "output_tokens": 300}

CASES: dict[str, list[EventData]] = {
    "input, cached input, output": [EventData(provider="openai", model="gpt-4o", usage=LLM)],
    "the same, with tiers": [EventData(provider="anthropic", model="claude-sonnet-4-5", usage=LLM)],
    "an image with options": [
        EventData(
            provider="openai", model="dall-e-3", usage={"images": 1}, options={"size": "1024x1024", "quality": "hd"}
        )
    ],
    "decimal seconds of video": [EventData(provider="pika", model="1.5", usage={"video_seconds": "2.5"})],
    "an unknown model seen before": [EventData(provider="openai", model="gpt-99", usage=LLM)],
    "ever new names, OpenAI": [EventData(provider="openai", model=f"new-{i}", usage=LLM) for i in range(2000)],
    "ever new names, OpenRouter": [EventData(provider="openrouter", model=f"new-{i}", usage=LLM) for i in range(1000)],
    "ever new names, unknown provider": [EventData(provider=f"p-{i}", model="new", usage=LLM) for i in range(2000)],
}


def nanoseconds(pricer: Pricer, events: list[EventData]) -> int:
    """The best of several rounds, per event. Names that are new are new once, so they get one round."""
    repeat, rounds = (100_000, ROUNDS) if len(events) == 1 else (1, 1)
    price = pricer.price
    best = sys.maxsize
    for _ in range(rounds):
        many = events * repeat
        start = perf_counter_ns()
        for data in many:
            price(data, NOW)
        best = min(best, (perf_counter_ns() - start) // len(many))
    return best


def main() -> None:
    book = load_price_book()
    for case, events in CASES.items():
        pricer = Pricer(book)
        pricer.price(EventData(provider="openai", model="gpt-4o", usage=LLM), NOW)
        print(json.dumps({"case": case, "ns_per_event": nanoseconds(pricer, events)}))


if __name__ == "__main__":
    main()
