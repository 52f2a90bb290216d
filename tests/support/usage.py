"""Usage events and Kafka records for tests, without Kafka."""

import json
from typing import Any

from aiokafka import ConsumerRecord

TIME = "2026-11-21T10:00:00Z"
TIME_MS = 1_795_255_200_000


def event(event_id: str = "e1", user: str = "u1", **changes: Any) -> dict[str, Any]:
    """A valid event of 1,000 input and 100 output tokens of openai/gpt-4o: 0.0025 + 0.001 = 0.0035 USD."""
    data: dict[str, Any] = {
        "provider": "openai",
        "model": "gpt-4o",
        "usage": {"input_tokens": 1000, "output_tokens": 100},
    }
    envelope = {
        "specversion": "1.0",
        "type": "tollgate.usage.v1",
        "source": "tests",
        "id": event_id,
        "subject": user,
        "time": TIME,
        "data": data | changes.pop("data", {}),
    }
    return envelope | changes


def record(
    value: dict[str, Any] | bytes | None,
    offset: int = 0,
    *,
    partition: int = 0,
    key: bytes | None = None,
    timestamp: int = TIME_MS,
    headers: tuple[tuple[str, bytes], ...] = (),
) -> ConsumerRecord:
    """A record as the consumer hands it over; a dict is written as JSON under its user's key."""
    if isinstance(value, dict):
        key = str(value["subject"]).encode() if key is None else key
        value = json.dumps(value).encode()
    return ConsumerRecord(
        topic="tollgate.usage",
        partition=partition,
        offset=offset,
        timestamp=timestamp,
        timestamp_type=1,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=len(key or b""),
        serialized_value_size=len(value or b""),
        headers=headers,
    )
