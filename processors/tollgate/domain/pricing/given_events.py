"""Reads events whose price is to be explained: whole usage events, or less: only what belongs under `data`."""

import json
from collections.abc import Iterator

from tollgate.schemas.instants import format_instant
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.strict_json import is_too_deep
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event


def read_events(content: bytes, now_ms: int) -> Iterator[tuple[int, EventRecord | Refusal]]:
    """The events with their line numbers: the whole content as one JSON object, or else each line that is not blank.

    What an envelope lacks is made up, as by `read_event`.
    """
    if isinstance(_parsed(content), dict):
        yield 1, read_event(content, now_ms)
        return
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            yield number, read_event(line, now_ms)


def read_event(content: bytes, now_ms: int) -> EventRecord | Refusal:
    """One event. What its envelope lacks is made up; then its time is `now_ms`, unless it says so."""
    return decode_usage_event(_enveloped(content, now_ms))


def _parsed(text: bytes) -> object:
    if is_too_deep(text):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _enveloped(text: bytes, now_ms: int) -> bytes:
    given = _parsed(text)
    if not isinstance(given, dict) or "specversion" in given:
        return text
    envelope = {"specversion": "1.0", "type": "tollgate.usage.v1", "source": "price-explain", "id": "1", "subject": "-"}
    event = given if "data" in given else {"data": given}
    return json.dumps(envelope | {"time": format_instant(now_ms)} | event).encode()
