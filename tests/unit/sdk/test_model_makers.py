"""A call may name a model alone, where its name tells the provider."""

import json

import pytest

from tollgate.sdk import InvalidEventError, RecordingTollgate
from tollgate.sdk.model_makers import maker_of
from tollgate.sdk.recording import encode_event

USAGE = {"input_tokens": 3}


@pytest.mark.parametrize(
    ("model", "maker"),
    [
        ("gpt-4o", "openai"),
        ("gpt-5-mini", "openai"),
        ("gpt-3.5-turbo", "openai"),
        ("chatgpt-4o-latest", "openai"),
        ("o1", "openai"),
        ("o3-mini", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("gemini-2.5-flash", "google"),
        ("grok-4", "xai"),
        # Others sell these too, at other prices.
        ("gpt-oss-120b", None),
        ("llama-3.3-70b", None),
        ("openai/gpt-4o", None),
        ("o1x", None),
        ("", None),
        (None, None),
        (4, None),
    ],
)
def test_which_models_tell_their_provider(model: object, maker: str | None) -> None:
    assert maker_of(model) == maker


def test_a_provider_that_is_named_stays() -> None:
    value = encode_event("chat", "e1", "u1", None, {"provider": "azure", "model": "gpt-4o", "usage": USAGE})
    assert json.loads(value)["data"]["provider"] == "azure"


def test_a_reservation_for_a_model_alone_is_settled_with_its_provider() -> None:
    toll = RecordingTollgate()
    with toll.reserve(user="u-42", usd="0.10", model="gpt-4o") as held:
        held.settle(usage={"input_tokens": 1200, "output_tokens": 300})
    (event,) = toll.events
    assert (event.data["provider"], event.data["model"]) == ("openai", "gpt-4o")


def test_another_model_alone_is_refused_as_before() -> None:
    with pytest.raises(InvalidEventError, match="needs provider and model"):
        encode_event("chat", "e1", "u1", None, {"model": "llama-3.3-70b", "usage": USAGE})
