"""Facts about what is written, and about the package's public names."""

import json

import pytest
from pydantic import ValidationError

import tollgate.schemas
from tollgate.schemas.outputs import EventStatus, PricedEvent, PriceStatus
from tollgate.schemas.outputs_codec import PricedRecord, encode_priced


def record(**changes: object) -> PricedRecord:
    """A priced event with required fields alone."""
    fields: dict[str, object] = {
        "event_id": "e1", "source": "tests", "time": "2026-11-21T10:00:00.123Z", "kind": "usage", "user": "u-42",
        "cost_usd": "0.0125", "retail_usd": "0", "price_id": "p", "price_status": "priced", "source_partition": 3,
        "source_offset": 7, "version": 1, "usage": {"input_tokens": 5}, "status": "success",
    }  # fmt: skip
    return PricedRecord(**(fields | changes))  # type: ignore[arg-type] # each test gives the right types


def test_a_priced_record_leaves_out_what_is_absent() -> None:
    assert json.loads(encode_priced(record(model="gpt-4o"))) == {
        "event_id": "e1",
        "source": "tests",
        "time": "2026-11-21T10:00:00.123Z",
        "kind": "usage",
        "user": "u-42",
        "model": "gpt-4o",
        "cost_usd": "0.0125",
        "retail_usd": "0",
        "price_id": "p",
        "price_status": "priced",
        "source_partition": 3,
        "source_offset": 7,
        "version": 1,
        "usage": {"input_tokens": 5},
        "status": "success",
    }


def test_codec_and_model_have_the_same_fields() -> None:
    assert set(PricedRecord.__struct_fields__) == set(PricedEvent.model_fields)


def test_what_the_codec_writes_the_model_reads() -> None:
    full = record(
        org="acme", latency_ms=812, options={"size": "hd"}, metadata={"a": [1]}, usage={"video_seconds": "4.5"}
    )
    read = PricedEvent.model_validate_json(encode_priced(full))
    assert {name: getattr(read, name) for name in PricedEvent.model_fields} == {
        **{name: getattr(full, name) for name in PricedRecord.__struct_fields__},
        "status": EventStatus.SUCCESS,
        "price_status": PriceStatus.PRICED,
    }


@pytest.mark.parametrize("cost", ["0.0", "1.", "00", "1e3", "", "NaN", "-", "+1", "0.0000000000001"])
def test_money_that_is_not_a_shortest_decimal_is_refused(cost: str) -> None:
    with pytest.raises(ValidationError):
        PricedEvent.model_validate_json(encode_priced(record(cost_usd=cost)))


@pytest.mark.parametrize("cost", ["0", "104.2", "-0.5", "0.000000000001", "99999999999999999999999999"])
def test_money_is_a_shortest_decimal(cost: str) -> None:
    assert PricedEvent.model_validate_json(encode_priced(record(cost_usd=cost))).cost_usd == cost


def test_every_public_name_can_be_imported_from_the_package() -> None:
    for name in tollgate.schemas.__all__:
        assert getattr(tollgate.schemas, name), name
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = tollgate.schemas.absent
