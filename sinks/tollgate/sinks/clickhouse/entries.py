"""Records of the entries topic as rows: credits, revenue and adjustments. Pure.

The worker decides which of them count, and what it refuses becomes a dead letter. So a record that cannot be read here
has no row, and the view leaves out those that have a dead letter.
"""

from typing import Annotated, Any, Final

import msgspec
from aiokafka import ConsumerRecord
from msgspec import Meta

from tollgate.schemas.cloud_events import binary_attributes
from tollgate.schemas.event_time import parse_event_time
from tollgate.schemas.instants import format_instant
from tollgate.schemas.record_reading import read_record
from tollgate.schemas.refusals import Refusal
from tollgate.sinks.clickhouse.dead_letters import written_at

# What `Decimal(38, 9)` and `Decimal(38, 12)` hold with room for a sum.
_Amount = Annotated[str, Meta(pattern=r"^-?[0-9]{1,18}(\.[0-9]{1,9})?\Z")]
_Usd = Annotated[str, Meta(pattern=r"^-?[0-9]{1,14}(\.[0-9]{1,12})?\Z")]
_Whole = Annotated[int, Meta(gt=-(10**18), lt=10**18)]


class _Data(msgspec.Struct, gc=False):
    """The data of every type of entry; those of one type leave the others' fields as they are here."""

    kind: str | None = ""
    credits: _Amount | _Whole | None = 0
    expires_at: str | None = None
    note: str | None = ""
    amount_usd: _Usd | None = "0"
    currency: str | None = ""
    amount: _Usd | None = None
    plan: str | None = ""
    reference: str | None = ""
    org: str | None = ""
    service: str | None = ""
    provider: str | None = ""
    model: str | None = ""
    agent: str | None = ""
    campaign: str | None = ""
    feature: str | None = ""
    product: str | None = ""
    event_source: str | None = ""
    event_id: str | None = ""
    event_time: str | None = None
    cost_usd: _Usd | None = "0"
    retail_usd: _Usd | None = "0"
    price_id: str | None = ""
    reason: str | None = ""


class _Credit(_Data, kw_only=True):
    credits: _Amount | _Whole
    kind: str


class _Revenue(_Data, kw_only=True):
    amount_usd: _Usd
    kind: str


class _Adjustment(_Data, kw_only=True):
    event_source: str
    event_id: str
    event_time: str


class _Envelope(msgspec.Struct, gc=False):
    type: str
    source: str
    id: str
    subject: str
    time: str
    data: msgspec.Raw


_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_decode_data: Final = {
    "tollgate.credit.v1": msgspec.json.Decoder(_Credit).decode,
    "tollgate.revenue.v1": msgspec.json.Decoder(_Revenue).decode,
    "tollgate.adjustment.v1": msgspec.json.Decoder(_Adjustment).decode,
}
_INSTANTS: Final = ("expires_at", "event_time")


def entry_row(record: ConsumerRecord) -> dict[str, Any] | None:
    """The columns of a record of `tollgate.entries` but for its place; None for one that is no entry for people."""
    value = record.value
    try:
        attributes = binary_attributes(record.headers)
        if isinstance(attributes, Refusal):
            return None
        if attributes is None:
            envelope = read_record(_decode_envelope, value)
        else:
            envelope = msgspec.convert(attributes | {"data": msgspec.Raw(value or b"")}, _Envelope)
        decode = _decode_data.get(envelope.type)
        if decode is None:
            return None
        row: dict[str, Any] = msgspec.structs.asdict(read_record(decode, bytes(envelope.data)))
        for name in _INSTANTS:
            if row[name] is not None:
                row[name] = format_instant(parse_event_time(row[name]))
        time = format_instant(parse_event_time(envelope.time))
    except (ValueError, msgspec.MsgspecError):
        return None
    return row | {
        "type": envelope.type,
        "source": envelope.source,
        "id": envelope.id,
        "user": envelope.subject,
        "time": time,
        "recorded_at": written_at(record),
    }
