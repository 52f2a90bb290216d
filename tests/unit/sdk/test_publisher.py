"""What the publisher puts into an event, and what it refuses to send."""

import json
from datetime import UTC, datetime

import pytest

from tollgate.schemas.refusals import RefusalReason
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.sdk import InvalidEventError, UsagePublisher
from tollgate.sdk.recording import encode_event, new_id


def test_an_event_carries_what_was_given_and_nothing_else() -> None:
    data = {"provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 1200}, "agent": None, "latency_ms": 812}
    value = encode_event("chat-api", "e1", "u-42", datetime(2026, 11, 21, 10, 0, 0, 123_999, tzinfo=UTC), data)
    assert json.loads(value) == {
        "specversion": "1.0",
        "type": "tollgate.usage.v1",
        "source": "chat-api",
        "id": "e1",
        "subject": "u-42",
        "time": "2026-11-21T10:00:00.123Z",
        "data": {"provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 1200}, "latency_ms": 812},
    }


def test_the_time_defaults_to_now() -> None:
    event = decode_usage_event(encode_event("s", "e1", "u1", None, {"agent": "SEO", "usage": {"input_tokens": 1}}))
    assert isinstance(event, EventRecord)
    assert abs(event.time_ms - datetime.now(UTC).timestamp() * 1000) < 60_000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": -1}}, RefusalReason.NEGATIVE_USAGE),
        ({"provider": "openai", "model": "gpt-4o", "usage": {"video_seconds": 1.5}}, RefusalReason.WRONG_TYPE),
        ({"provider": "openai", "usage": {"input_tokens": 1}}, RefusalReason.MISSING_FIELD),
        ({"agent": "SEO", "usage": {"input_tokens": 1}, "status": "fine"}, RefusalReason.INVALID),
    ],
)
def test_what_the_worker_would_refuse_is_not_sent(data: dict[str, object], reason: RefusalReason) -> None:
    with pytest.raises(InvalidEventError) as caught:
        encode_event("s", "e1", "u1", None, data)
    assert caught.value.refusal.reason is reason


def test_an_unknown_field_is_a_mistake_in_the_program() -> None:
    with pytest.raises(TypeError, match="modle is not a field of a usage event: write model="):
        encode_event("s", "e1", "u1", None, {"modle": "gpt-4o", "usage": {}})


def test_ids_differ_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert all(len(found) == 32 for found in ids)
    assert [found[:12] for found in ids] == sorted(found[:12] for found in ids)


async def test_recording_before_start_is_a_mistake_in_the_program() -> None:
    with pytest.raises(TypeError, match="not started"):
        await UsagePublisher("nowhere:1", source="s").record(user="u1", agent="SEO", usage={"input_tokens": 1})
