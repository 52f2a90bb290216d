"""The explanation adds up to the cost, and says where each figure comes from."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.pricing.events import NOW, M, event

from tollgate.domain.pricing import Pricer, explain
from tollgate.domain.pricing.integer_price import rounded
from tollgate.schemas.usage_codec import EventData

SUBJECTS = ["openai/gpt-4o", "google/gemini-2.5-pro", "novita/llama-3-8b", "pika/1.5", "nobody/x", "perplexity/sonar"]
SUBJECTS += ["groq/whisper-large-v3", "temporal/actions", "cloudflare/r2", "openrouter/deepseek/deepseek-r1:free"]
DIMENSIONS = ["input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "requests", "messages"]
DIMENSIONS += ["video_seconds", "audio_seconds", "actions", "egress_gb", "total_tokens", "sheep"]
AMOUNTS = st.integers(0, 10**6) | st.sampled_from(["0.5", "250000.25", "1.000000001"])


def lines(pricer: Pricer, data: EventData) -> list[tuple[str, str, str, str, str, str]]:
    explanation = explain(pricer, data, NOW)
    return [(x.dimension, x.amount, x.usd, x.per, x.cost_usd, x.note) for x in explanation.lines]


@given(
    subject=st.sampled_from(SUBJECTS),
    usage=st.dictionaries(st.sampled_from(DIMENSIONS), AMOUNTS),
    convention=st.sampled_from(["inclusive", "exclusive"]),
)
def test_the_lines_add_up_to_the_cost(
    pricer: Pricer, subject: str, usage: dict[str, int | str], convention: str
) -> None:
    data = event(subject, usage, convention=convention)
    compiled, bill = pricer.bill(data, NOW)
    quote = pricer.price(data, NOW)
    assert rounded(sum((line.cost for line in bill.charges), Fraction(0))) == quote.cost_picousd
    assert quote.price_id.startswith(compiled.price_id)


def test_a_typical_event_is_explained_line_by_line(pricer: Pricer) -> None:
    data = event("openai/gpt-4o", {"input_tokens": 1200, "cached_input_tokens": 1000, "output_tokens": 300})
    assert lines(pricer, data) == [
        ("input_tokens", "200", "2.5", "1000000", "0.0005", ""),
        ("cached_input_tokens", "1000", "1.25", "1000000", "0.00125", ""),
        ("output_tokens", "300", "10", "1000000", "0.003", ""),
    ]
    explanation = explain(pricer, data, NOW)
    assert explanation.quote.cost_picousd == 4_750_000_000
    assert {line.source for line in explanation.lines} == {"genai-prices 0.2.3"}
    assert explanation.notes == ()
    assert explanation.interval.from_ms <= NOW < explanation.interval.to_ms


@pytest.mark.parametrize(
    ("subject", "usage", "line"),
    [
        (
            "openai/gpt-4o",
            {"output_tokens": 2, "reasoning_tokens": 1},
            ("reasoning_tokens", "1", "10", "1000000", "0.00001", "at the rate of output_tokens"),
        ),
        (
            "openai/gpt-4o",
            {"input_tokens": 2, "cached_input_tokens": 2},
            ("input_tokens", "2", "", "", "0", "counted in its parts"),
        ),
        (
            "google/gemini-2.5-pro",
            {"input_tokens": 300_000},
            ("input_tokens", "300000", "2.5", "1000000", "0.75", "above 200000 input tokens"),
        ),
        ("openai/gpt-4o", {"requests": 3, "input_tokens": 1}, ("requests", "3", "", "", "0", "not charged for")),
        ("openai/gpt-4o", {"requests": 3}, ("requests", "3", "0.075", "1", "0.225", "no known price")),
        (
            "openai/gpt-4o",
            {"prompt_tokens": 3},
            ("input_tokens", "3", "2.5", "1000000", "0.0000075", "sent as prompt_tokens"),
        ),
        (
            "anthropic/claude-sonnet-4-6",
            {"output_tokens": 1, "web_fetch_requests": 2},
            ("web_fetch_requests", "2", "", "", "0", "information"),
        ),
        (
            "openai/gpt-4o",
            {"prompt_tokens": 3, "input_tokens": 3},
            ("input_tokens", "3", "", "", "0", "a repeat"),
        ),
        (
            "openai/gpt-4o",
            {"total_tokens": 1, "input_tokens": 1},
            ("total_tokens", "1", "", "", "0", "the sum of the others"),
        ),
        ("openai/gpt-4o", {"images": 1}, ("images", "1", "0.12", "1", "0.12", "no known price")),
        ("pika/1.5", {"video_seconds": 1}, ("video_seconds", "1", "0.1", "3", "0.033333333333", "")),
        ("novita/llama-3-8b", {}, ("messages", "1", "0.000025", "1", "0.000025", "once per event")),
        ("perplexity/sonar", {}, ("requests", "1", "12", "1000", "0.012", "once per event")),
        (
            "groq/whisper-large-v3",
            {"audio_seconds": 3},
            ("audio_seconds", "10", "0.111", "3600", "0.000308333333", "at least 10 are charged"),
        ),
        (
            "temporal/actions",
            {"actions": 1, "requests": 5},
            ("requests", "5", "", "", "0", "counted in actions"),
        ),
    ],
)
def test_a_line_says_what_was_done(
    pricer: Pricer, subject: str, usage: dict[str, int | str], line: tuple[str, str, str, str, str, str]
) -> None:
    assert line in lines(pricer, event(subject, usage))


def test_notes_say_why_the_lines_do_not_count(pricer: Pricer) -> None:
    failed = explain(pricer, event("openai/gpt-4o", {"input_tokens": M}, status="error"), NOW)
    assert failed.notes == ("a call with status error costs nothing unless it says `billed`",)
    assert (failed.quote.cost_picousd, failed.lines[0].cost_usd) == (0, "2.5")
    reported = explain(pricer, event(cost_usd="3"), NOW)
    assert reported.notes == ("the event reports its own cost, which takes the place of the price book",)
    assert reported.lines == ()


def test_notes_say_why_an_event_is_unpriced(pricer: Pricer) -> None:
    unknown = explain(pricer, event("openai/gpt-99", {"input_tokens": 1}), NOW)
    assert unknown.notes == (
        "no price is known for this event: it is charged at the most expensive known price of openai",
    )
    partly = explain(pricer, event("openai/gpt-4o", {"images": 1}), NOW)
    assert partly.notes == ("the known price does not cover images, so the event counts as unpriced",)
    doubtful = explain(pricer, event("openai/gpt-4o", {"input_tokens": 1, "cached_input_tokens": 2}), NOW)
    doubt = "the parts of input_tokens are more than the whole, so they are taken to be beside it"
    assert doubtful.notes == (f"{doubt}: the dearest reading is charged",)
    free = explain(pricer, event("replicate/flux-schnell", {"images": 1}, options={"tier": "free"}), NOW)
    assert free.notes == ("a free offer",)
