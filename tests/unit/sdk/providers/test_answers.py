"""Answers and the events of streams, as the providers' documentation shows them: what each says was used."""

from typing import Any

import pytest

from tollgate.sdk.providers import Answer, AnthropicAnswer, GoogleAnswer, OpenAIAnswer
from tollgate.sdk.providers.openai import convention_of, provider_of

BODY = {"model": "m", "messages": [{"role": "user", "content": "12345678"}]}  # 12 bytes of text: 3 tokens


def fed(answer: Answer, *events: dict[str, Any]) -> Answer:
    for event in events:
        answer.event(event)
    return answer


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {"content": content} if content is not None else {}
    return {"id": "c1", "model": "gpt-4o-2024-08-06", "choices": [{"delta": delta, "finish_reason": finish}], **more}


def test_a_stream_that_tells_its_usage_is_not_estimated() -> None:
    told = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}
    reading = fed(OpenAIAnswer("chat.completion", BODY), chunk("ab"), chunk(finish="stop"), told).reading()
    assert (reading.usage, reading.estimated) == ({"input_tokens": 7, "output_tokens": 2}, False)
    assert (reading.model, reading.answer_id) == ("gpt-4o-2024-08-06", "c1")


def test_only_the_event_that_is_nothing_but_usage_is_hidden() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    answer = OpenAIAnswer("chat.completion", BODY)
    assert answer.event({"choices": [], "usage": usage})
    assert not answer.event(chunk("ab", usage=usage))
    assert not answer.event({"choices": [], "usage": None, "prompt_filter_results": []})
    assert not answer.event({"type": "response.completed", "response": {"usage": usage}})


def test_a_stream_without_usage_is_estimated_by_its_text() -> None:
    """12 bytes of request are 3 tokens. 5 of text, 4 of thoughts, 4 + 3 of a tool and 3 of "é!" are 19 bytes: 5."""
    tool = {"tool_calls": [{"function": {"name": "look", "arguments": "{1}"}}]}
    answer = fed(
        OpenAIAnswer("chat.completion", BODY),
        chunk("abcde"),
        {"choices": [{"delta": {"reasoning_content": "hmmm"}}]},
        {"choices": [{"delta": tool}]},
        chunk("é!"),
    )
    reading = answer.reading()
    assert (reading.usage, reading.estimated, answer.complete) == ({"input_tokens": 3, "output_tokens": 5}, True, False)


def test_servers_that_tell_usage_with_every_chunk_are_not_estimated_when_cut() -> None:
    answer = fed(
        OpenAIAnswer("chat.completion", BODY),
        chunk("a", usage={"prompt_tokens": 7, "completion_tokens": 1}),
        chunk("b", usage={"prompt_tokens": 7, "completion_tokens": 2}),
    )
    reading = answer.reading()
    assert (reading.usage, reading.estimated, answer.complete) == (
        {"input_tokens": 7, "output_tokens": 2},
        False,
        False,
    )


def test_groq_tells_usage_in_a_field_of_its_own() -> None:
    told = chunk(finish="stop", x_groq={"id": "req", "usage": {"prompt_tokens": 7, "completion_tokens": 2}})
    assert fed(OpenAIAnswer("chat.completion", BODY, "groq"), told).reading().usage["output_tokens"] == 2


@pytest.mark.parametrize(("tier", "option"), [("default", {}), ("flex", {"service_tier": "flex"}), (None, {})])
def test_the_tier_that_answered_is_an_option_when_it_has_a_price(tier: str | None, option: dict[str, str]) -> None:
    answer = OpenAIAnswer("chat.completion", BODY)
    answer.result({"service_tier": tier, "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    assert answer.reading().options == option


def test_searches_of_a_response_are_counted_and_opened_pages_are_not() -> None:
    output = [
        {"type": "web_search_call", "action": {"type": "search"}},
        {"type": "web_search_call", "action": {"type": "open_page"}},
        {"type": "web_search_call"},
        {"type": "file_search_call", "queries": ["a", "b"]},
        {"type": "message", "content": [{"type": "output_text", "text": "x"}]},
    ]
    usage = {"input_tokens": 4, "output_tokens": 5, "total_tokens": 9}
    whole = OpenAIAnswer("response", {"input": "x"})
    whole.result({"status": "completed", "output": output, "usage": usage})
    streamed = fed(
        OpenAIAnswer("response", {"input": "x"}),
        {"type": "response.completed", "response": {"status": "completed", "output": output, "usage": usage}},
    )
    expected = {"input_tokens": 4, "output_tokens": 5, "web_searches": 2, "storage_searches": 1}
    assert whole.reading().usage == streamed.reading().usage == expected


def test_a_response_in_the_background_is_not_finished() -> None:
    answer = OpenAIAnswer("response", {"input": "x", "background": True})
    answer.result({"status": "queued", "output": [], "usage": None})
    assert answer.unfinished
    assert not answer.complete


def test_images_are_counted_by_what_came_where_no_tokens_are_told() -> None:
    body = {"model": "dall-e-3", "prompt": "x", "n": 2, "size": "1024x1024", "quality": "hd"}
    answer = OpenAIAnswer("image.generation", body)
    answer.result({"data": [{"url": "u"}, {"url": "v"}]})
    reading = answer.reading()
    assert (reading.usage, reading.estimated) == ({"images": 2}, False)
    assert reading.options == {"size": "1024x1024", "quality": "hd"}


def test_all_output_of_an_image_model_is_images_where_it_does_not_say() -> None:
    usage = {"input_tokens": 10, "output_tokens": 272, "total_tokens": 282}
    answer = OpenAIAnswer("image.generation", {"model": "gpt-image-1.5"})
    answer.result({"data": [{}], "usage": usage})
    assert answer.reading().usage == {"input_tokens": 10, "output_tokens": 272, "output_image_tokens": 272}
    answer.result({"data": [{}], "usage": {**usage, "output_tokens_details": {"image_tokens": 200, "text_tokens": 72}}})
    assert answer.reading().usage["output_image_tokens"] == 200


def test_speech_is_counted_by_its_characters_or_estimated_by_them() -> None:
    """1,000 characters are 250 tokens of text and, at 139 for 100 characters, 1,390 of audio."""
    spoken = {"input": "a" * 1000, "voice": "alloy"}
    by_characters = OpenAIAnswer("audio.speech", {**spoken, "model": "tts-1-hd"}).reading()
    assert (by_characters.usage, by_characters.estimated) == ({"characters": 1000}, False)
    by_tokens = OpenAIAnswer("audio.speech", {**spoken, "model": "gpt-4o-mini-tts"}).reading()
    assert (by_tokens.usage, by_tokens.estimated) == ({"input_tokens": 250, "output_tokens": 1390}, True)


def test_a_transcription_as_text_is_estimated_by_what_was_said() -> None:
    """150 characters at 15 a second are 10 seconds; less than a second is one."""
    answer = OpenAIAnswer("audio.transcription", {"model": "whisper-1"})
    answer.result("a" * 150)
    assert (answer.reading().usage, answer.reading().estimated) == ({"audio_seconds": "10"}, True)
    assert OpenAIAnswer("audio.transcription", {}).reading().usage == {"audio_seconds": "1"}


def test_a_message_of_anthropic_has_its_amounts_of_the_start_and_of_the_end() -> None:
    """25 new, 100 from the cache: 125. The output of the end counts, not that of the start."""
    answer = AnthropicAnswer("message", BODY)
    start = {"input_tokens": 25, "cache_read_input_tokens": 100, "output_tokens": 1, "service_tier": "priority"}
    fed(
        answer,
        {"type": "message_start", "message": {"id": "msg_1", "model": "claude-opus-4-8", "usage": start}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "12345"}},
    )
    cut = answer.reading()
    assert (cut.usage, cut.estimated) == (
        {"input_tokens": 125, "cached_input_tokens": 100, "output_tokens": 2},
        True,
    )
    fed(answer, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}})
    reading = answer.reading()
    assert (reading.usage, reading.estimated) == (
        {"input_tokens": 125, "cached_input_tokens": 100, "output_tokens": 15},
        False,
    )
    assert (reading.answer_id, reading.options, answer.complete) == ("msg_1", {"service_tier": "priority"}, True)


def test_compaction_is_billed_beside_the_message() -> None:
    """10 + 200 of input, 5 + 50 of output; the message's own iteration is in the message already."""
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "iterations": [
            {"type": "compaction", "input_tokens": 200, "output_tokens": 50},
            {"type": "message", "input_tokens": 10, "output_tokens": 5},
        ],
    }
    answer = AnthropicAnswer("message", BODY)
    answer.result({"content": [], "usage": usage})
    assert answer.reading().usage == {"input_tokens": 210, "output_tokens": 55}


def test_google_tells_its_amounts_until_now_with_every_event() -> None:
    """9 of prompt; 2 shown and 30 thought by then."""
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 2, "thoughtsTokenCount": 30, "totalTokenCount": 41}
    part = {"candidates": [{"content": {"parts": [{"text": "12345678"}]}}], "usageMetadata": usage}
    answer = fed(GoogleAnswer("generate_content", {}), part)
    reading = answer.reading()
    assert (reading.usage, reading.estimated, answer.complete) == (
        {"input_tokens": 9, "output_tokens": 32, "reasoning_tokens": 30},
        False,
        False,
    )


def test_google_before_it_tells_the_answers_tokens_is_estimated() -> None:
    """9 of prompt are told, and 8 bytes of text are 2."""
    usage = {"promptTokenCount": 9, "totalTokenCount": 9}
    part = {"candidates": [{"content": {"parts": [{"text": "12345678"}]}}], "usageMetadata": usage}
    reading = fed(GoogleAnswer("generate_content", {}), part).reading()
    assert (reading.usage, reading.estimated) == ({"input_tokens": 9, "output_tokens": 2}, True)


@pytest.mark.parametrize(("model", "searches"), [("gemini-2.5-flash", 1), ("gemini-3-pro-preview", 2)])
def test_google_bills_searched_prompts_and_from_gemini_3_each_query(model: str, searches: int) -> None:
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11}
    found = {"groundingMetadata": {"webSearchQueries": ["a", "b", "a"]}, "finishReason": "STOP"}
    answer = fed(
        GoogleAnswer("generate_content", {}),
        {"modelVersion": model, "candidates": [found], "usageMetadata": usage},
        {"modelVersion": model, "candidates": [found], "usageMetadata": usage},
    )
    assert answer.reading().usage == {"input_tokens": 9, "output_tokens": 2, "web_searches": searches}


@pytest.mark.parametrize(
    ("operation", "event", "usage"),
    [
        ("image.generation", "image_generation.completed", {"input_tokens": 9, "output_tokens": 272}),
        ("audio.transcription", "transcript.text.done", {"input_tokens": 9, "output_tokens": 4}),
        ("audio.speech", "speech.audio.done", {"input_tokens": 9, "output_tokens": 40}),
    ],
)
def test_streams_of_images_and_audio_tell_their_usage_at_their_end(
    operation: str, event: str, usage: dict[str, int]
) -> None:
    answer = fed(
        OpenAIAnswer(operation, {"model": "gpt-x", "input": "hello"}),
        {"type": "speech.audio.delta", "audio": "AAAA"},
        {"type": event, "usage": {**usage, "total_tokens": sum(usage.values())}},
    )
    more = {"output_image_tokens": 272} if operation == "image.generation" else {}
    assert (answer.reading().usage, answer.complete) == ({**usage, **more}, True)


def test_a_prediction_of_vertex_is_its_tokens_or_an_image() -> None:
    embeddings = GoogleAnswer("predict", {})
    counted = [{"embeddings": {"values": [1], "statistics": {"token_count": count}}} for count in (4.0, 5.0)]
    embeddings.result({"predictions": counted})
    assert embeddings.reading().usage == {"input_tokens": 9}
    images = GoogleAnswer("predict", {})
    images.result({"predictions": [{"bytesBase64Encoded": "aW1n"}] * 3})
    assert images.reading().usage == {"images": 3}


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("mine.openai.azure.com", "azure"),
        ("api.groq.com", "groq"),
        ("openrouter.ai", "openrouter"),
        ("api.x.ai", "xai"),
        ("generativelanguage.googleapis.com", "google"),
        ("127.0.0.1", "openai"),
        ("groq.com.example.org", "openai"),
        ("", "openai"),
    ],
)
def test_a_provider_is_known_by_its_host(host: str, provider: str) -> None:
    assert provider_of(host) == provider


def test_a_provider_without_a_convention_of_openais_form_is_read_as_openai() -> None:
    assert [convention_of(name) for name in ("groq", "google", "vllm", "xai")] == ["groq", "openai", "openai", "xai"]
