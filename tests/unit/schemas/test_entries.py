"""Reservations, releases and credits as they are sent: what is read, and why an entry is refused."""

import json
from typing import Any

import pytest

from tollgate.schemas.entries import (
    CreditEntry,
    ReleaseEntry,
    ReservationEntry,
    decode_entries_topic,
    decode_usage_topic,
)
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.usage_codec import EventRecord
from tollgate.schemas.usage_identity import entry_digest, entry_fingerprint, identity_digest


def envelope(kind: str, data: dict[str, Any], **changes: Any) -> bytes:
    document = {
        "specversion": "1.0",
        "type": f"tollgate.{kind}.v1",
        "source": "chat-api",
        "id": "r-1",
        "subject": "u-42",
        "time": "2026-11-21T10:00:00Z",
        "data": data,
    }
    return json.dumps(document | changes).encode()


def test_a_reservation_is_read_in_both_modes() -> None:
    data = {"amount_usd": "0.10", "credits": "5", "ttl_seconds": 60, "reply_to": "chat-api-7f3", "reply_partition": 3}
    entry = decode_usage_topic(envelope("reservation", data))
    assert isinstance(entry, ReservationEntry)
    assert (entry.amount_picousd, entry.credits_nano) == (100_000_000_000, 5_000_000_000)
    assert entry.time_ms == 1_795_255_200_000
    given = {"specversion": "1.0", "type": "tollgate.reservation.v1", "source": "chat-api", "id": "r-1"}
    given |= {"subject": "u-42", "time": "2026-11-21T10:00:00Z"}
    headers = [(f"ce_{name}", text.encode()) for name, text in given.items()]
    assert decode_usage_topic(json.dumps(data).encode(), headers) == entry


def test_a_release_is_read() -> None:
    entry = decode_usage_topic(envelope("release", {"reservation_id": "r-1"}))
    assert isinstance(entry, ReleaseEntry)
    assert entry.data.reservation_id == "r-1"


def test_a_type_that_is_written_with_escapes_is_read() -> None:
    value = envelope("release", {"reservation_id": "r-1"}).replace(b"tollgate.release", b"tollgate\\u002erelease")
    assert isinstance(decode_usage_topic(value), ReleaseEntry)


def test_usage_that_names_another_type_in_its_data_is_usage() -> None:
    data = {"provider": "openai", "model": "tollgate.reservation.v1", "usage": {"images": 1}}
    assert isinstance(decode_usage_topic(envelope("usage", data)), EventRecord)


@pytest.mark.parametrize(
    ("given", "nano"), [("100", 100 * 10**9), ("-1.5", -1_500_000_000), (7, 7 * 10**9), ("2.50", 2_500_000_000)]
)
def test_credits_are_exact(given: Any, nano: int) -> None:
    entry = decode_entries_topic(envelope("credit", {"credits": given, "kind": "bonus"}))
    assert isinstance(entry, CreditEntry)
    assert entry.nano == nano
    assert entry.expires_ms is None


GRANT = {"credits": "5", "kind": "bonus"}


@pytest.mark.parametrize(
    ("value", "reason", "error"),
    [
        (envelope("reservation", {}), "missing_field", "data: needs amount_usd, or credits"),
        (envelope("reservation", {"amount_usd": 0.1}), "wrong_type", "data.amount_usd: must be a decimal string"),
        (envelope("reservation", {"amount_usd": "-1"}), "negative_usage", "data.amount_usd: must not be negative"),
        (
            envelope("reservation", {"credits": 1.5}),
            "wrong_type",
            "data.credits: must be an integer or a decimal string",
        ),
        (
            envelope("reservation", {"credits": "5", "ttl_seconds": 0}),
            "invalid",
            "data.ttl_seconds: must be at least 1",
        ),
        (
            envelope("reservation", {"credits": "5", "ttl_seconds": 3601}),
            "invalid",
            "data.ttl_seconds: must be at most 3600",
        ),
        (envelope("reservation", {"credits": "5"}, subject=""), "invalid", "subject: must not be empty"),
        (envelope("release", {}), "missing_field", "data.reservation_id: is missing"),
        (b"", "not_json", "value: not JSON at character 0"),
    ],
)
def test_a_bad_entry_on_the_usage_topic_is_refused_in_one_sentence(value: bytes, reason: str, error: str) -> None:
    refusal = decode_usage_topic(value)
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.error) == (reason, error)


@pytest.mark.parametrize(
    ("value", "reason", "error"),
    [
        (
            envelope("credit", GRANT | {"credits": 1.5}),
            "wrong_type",
            "data.credits: must be an integer or a decimal string",
        ),
        (envelope("credit", GRANT | {"credits": "0"}), "invalid", "data.credits: must not be zero"),
        (envelope("credit", GRANT | {"credits": 10**18}), "invalid", "data.credits: must be between -10^18 and 10^18"),
        (
            envelope("credit", GRANT | {"credits": "1e3"}),
            "invalid",
            "data.credits: must be a decimal number with at most 9 decimals and below 10^18, which may be negative",
        ),
        (envelope("credit", {"credits": "5"}), "missing_field", "data.kind: is missing"),
        (
            envelope("credit", GRANT | {"kind": "gift"}),
            "invalid",
            "data.kind: Input should be 'purchase', 'bonus', 'prize', 'referral', 'refund' or 'correction'",
        ),
        (
            envelope("credit", GRANT | {"credits": "-5", "expires_at": "2026-12-01T00:00:00Z"}),
            "invalid",
            "data: credits that are taken back cannot expire: leave expires_at out",
        ),
        (envelope("revenue", {}), "invalid", "type: tollgate.revenue.v1 is not supported yet"),
        (envelope("adjustment", {}), "invalid", "type: tollgate.adjustment.v1 is not supported yet"),
        (envelope("reservation", {}), "invalid", "type: tollgate.reservation.v1 belongs on tollgate.usage"),
        (envelope("credit", GRANT)[:-1], "not_json", None),
        (b"x" * 65_537, "too_large", "value: 65537 bytes; at most 65536 are accepted"),
        (b"[" * 60_000, "invalid", "value: nested deeper than 32 levels"),
    ],
)
def test_a_bad_entry_on_the_entries_topic_is_refused_in_one_sentence(
    value: bytes, reason: str, error: str | None
) -> None:
    refusal = decode_entries_topic(value)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason
    assert error is None or refusal.error == error


def test_the_identities_of_types_are_apart() -> None:
    digests = {identity_digest("a", "b"), *(entry_digest(f"tollgate.{kind}.v1", "a", "b") for kind in ("x", "y"))}
    assert len(digests) == 3


def test_null_says_what_absence_says() -> None:
    assert entry_fingerprint("u", {"a": "1", "b": None}) == entry_fingerprint("u", {"a": "1"})
    assert entry_fingerprint("u", {"a": "1"}) != entry_fingerprint("v", {"a": "1"})
