"""`python -m tests.bench.codec`: nanoseconds per event to decode, to identify and to write one, on one core.

Each figure is the best of several rounds: what the code takes when nothing else runs.
"""

import json
import sys
import timeit
from collections.abc import Callable
from functools import partial

from tollgate.schemas.outputs_codec import PricedRecord, encode_priced
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.schemas.usage_event import validate_usage_event
from tollgate.schemas.usage_identity import fingerprint, identity_digest

ROUNDS, LOOPS = 7, 20_000

EVENT: dict[str, object] = {
    "specversion": "1.0",
    "type": "tollgate.usage.v1",
    "source": "chat-api",
    "id": "01JD8Z3T5V7Q2M9K4N6P8R0S1T",
    "subject": "u-4211",
    "time": "2026-11-21T10:00:00.123Z",
    "data": {
        "provider": "openai",
        "model": "gpt-4o",
        "usage": {"input_tokens": 1200, "cached_input_tokens": 1000, "output_tokens": 300},
        "org": "acme",
        "service": "chat",
        "feature": "chat",
        "operation": "chat.completion",
        "status": "success",
        "latency_ms": 812,
    },
}


def changed(event: dict[str, object], **data: object) -> bytes:
    """The event with other data, as it goes over the wire."""
    own = event["data"]
    assert isinstance(own, dict)
    return json.dumps({**event, "data": {**own, **data}}, ensure_ascii=False).encode()


def decoded(value: bytes) -> EventRecord:
    """The event, which is valid."""
    event = decode_usage_event(value)
    assert not isinstance(event, Refusal), event
    return event


def priced(event: EventRecord) -> PricedRecord:
    """The event as the worker writes it."""
    data = event.data
    return PricedRecord(
        event_id=event.id, source=event.source, time="2026-11-21T10:00:00.123Z", kind="usage", user=event.subject,
        cost_usd="0.00475", retail_usd="0", price_id="openai/gpt-4o@2024-10-01#0a1b2c3d", price_status="priced",
        source_partition=3, source_offset=1_234_567, version=1, usage=data.usage, status=data.status, org=data.org,
        service=data.service, provider=data.provider, model=data.model, feature=data.feature,
        operation=data.operation, latency_ms=data.latency_ms,
    )  # fmt: skip


def main() -> None:
    """Print one line per figure."""
    value = changed(EVENT)
    event = decoded(value)
    record = priced(event)
    cases: dict[str, Callable[[], object]] = {
        "decode": lambda: decode_usage_event(value),
        "identity_digest": lambda: identity_digest(event.source, event.id),
        "fingerprint": lambda: fingerprint(event),
        "make PricedRecord": lambda: priced(event),
        "encode_priced": lambda: encode_priced(record),
    }
    for name, other in {
        "decode, decimal usage": changed(EVENT, usage={"video_seconds": "4.5"}),
        "decode, not ASCII": changed(EVENT, org="Straßenbau"),
        "decode, nulls": changed(EVENT, agent=None),
    }.items():
        decoded(other)
        cases[name] = partial(decode_usage_event, other)
    cases["decode, refused"] = partial(decode_usage_event, changed(EVENT, latency_ms="slow"))
    cases["reference model"] = lambda: validate_usage_event(value)
    sys.stdout.write(f"event {len(value)} bytes, priced {len(encode_priced(record))} bytes; best of {ROUNDS} rounds\n")
    for name, case in cases.items():
        best = min(timeit.repeat(case, number=LOOPS, repeat=ROUNDS))
        sys.stdout.write(f"{name:24} {best / LOOPS * 1e9:8.0f} ns\n")


if __name__ == "__main__":
    main()
