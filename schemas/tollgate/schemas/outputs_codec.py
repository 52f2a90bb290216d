"""The fast way to write priced events. `outputs.PricedEvent` says what the fields mean."""

from typing import Final

import msgspec

Scalar = str | int | float | bool | None


class PricedRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """One record of `tollgate.priced`. Fields that have their default are left out of the JSON.

    The caller answers for the content: `time` is RFC 3339 in UTC, `usage` holds integers or decimal strings, money is a
    decimal string. Nothing is checked here.
    """

    event_id: str
    source: str
    time: str
    kind: str
    user: str
    cost_usd: str
    retail_usd: str
    price_id: str
    price_status: str
    source_partition: int
    source_offset: int
    version: int
    usage: dict[str, int | str]
    status: str
    org: str = ""
    service: str = ""
    provider: str = ""
    model: str = ""
    agent: str = ""
    campaign: str = ""
    feature: str = ""
    product: str = ""
    operation: str = ""
    latency_ms: int | None = None
    resource_type: str = ""
    resource_id: str = ""
    request_id: str = ""
    options: dict[str, str] = {}
    metadata: dict[str, Scalar] = {}


_ENCODER: Final = msgspec.json.Encoder()


def encode_priced(record: PricedRecord) -> bytes:
    """The record as the UTF-8 JSON that goes to Kafka."""
    return _ENCODER.encode(record)
