"""Facts about identities and fingerprints. The literal values are stored for weeks: they must never change."""

import json
from typing import Any

from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.schemas.usage_identity import fingerprint, fingerprint_as_sent, identity_digest


def event(subject: str = "u1", **data: Any) -> EventRecord:
    """A decoded event."""
    value = {
        "specversion": "1.0",
        "type": "tollgate.usage.v1",
        "source": "tests",
        "id": "e1",
        "subject": subject,
        "time": "2026-11-21T10:00:00Z",
        "data": {"provider": "openai", "model": "gpt-4o", "usage": {"a": 1, "b": "2.5"}} | data,
    }
    decoded = decode_usage_event(json.dumps(value).encode())
    assert isinstance(decoded, EventRecord), decoded
    return decoded


def test_a_digest_stays_the_same_in_every_release() -> None:
    assert identity_digest("chat-api", "e1").hex() == "0559afa4aec4463e9d92f4a815bd775b"


def test_a_digest_has_16_bytes_and_keeps_source_and_id_apart() -> None:
    digests = {identity_digest(*pair) for pair in [("a", "bc"), ("ab", "c"), ("", "abc"), ("1", ":a"), ("bc", "a")]}
    assert len(digests) == 5
    assert {len(digest) for digest in digests} == {16}


def test_a_fingerprint_stays_the_same_in_every_release() -> None:
    assert fingerprint(event()) == 7274596788161378651
    everything = event(
        agent="SEO", cost_usd="1", status="error", billed=True, convention="exclusive", options={"z": "1", "a": "2"},
        retail_tokens=5, org="o", service="s", campaign="c", feature="f", product="p", operation="op", latency_ms=1,
        resource_type="rt", resource_id="ri", request_id="rq", reservation_id="rs",
        metadata={"y": 1, "b": None, "f": 0.5},
    )  # fmt: skip
    assert fingerprint(everything) == 5539379696125367857
    # What earlier releases stored of it, null and all.
    assert fingerprint_as_sent(everything) == 7931035272539696472
    assert fingerprint_as_sent(event()) == 7274596788161378651


def test_a_fingerprint_is_of_the_subject_and_the_data() -> None:
    changed = [
        event(),
        event(subject="u2"),
        event(usage={"a": 2, "b": "2.5"}),
        event(usage={"a": 1, "b": "2.5", "c": 1}),
        event(model="gpt-5"),
        event(agent="gpt-4o"),
        event(latency_ms=0),
        event(metadata={"a": 1}),
        event(metadata={"a": True}),
        event(metadata={"a": 0}),
        event(metadata={"a": False}),
        event(metadata={"a": 1.5}),
        event(metadata={"a": 10**40}),
        event(metadata={"a": 10**40 + 1}),
        event(metadata={"a": str(10**40)}),
        event(metadata={"a": 9772945757313177262}),
        event(metadata={"a": 9772945757313177263}),
        event(metadata={"a": "1"}),
        event(options={"a": "1"}),
        event(billed=True),
        event(status="error"),
        event(cost_usd="0"),
        event(retail_tokens=0),
    ]
    assert len({fingerprint(other) for other in changed}) == 23


def test_a_fingerprint_does_not_depend_on_how_the_same_was_written() -> None:
    same = [
        event(usage={"b": "2.50", "a": "1.0"}),
        event(org=None, latency_ms=None, agent=""),
        event(status="success", billed=False, convention="inclusive", options={}, metadata={}),
        event(unknown="field"),
        event(usage={"a": 1, "b": "2.5", "c": 0, "d": "0.000"}),
        event(metadata={"a": None}),
    ]
    assert {fingerprint(other) for other in same} == {fingerprint(event())}


def test_a_number_of_metadata_is_the_same_however_it_is_spelled() -> None:
    def spelled(number: str) -> int:
        return fingerprint(event(metadata={"n": json.loads(number)}))

    assert {spelled(text) for text in ("1", "1.0", "1e0", "10e-1", "1.00E+0")} == {spelled("1")}
    assert {spelled(text) for text in ("0", "-0", "0.0", "-0.0", "0e5")} == {spelled("0")}
    assert {spelled(text) for text in ("-2.50", "-25e-1")} == {spelled("-2.5")}
    assert spelled("18446744073709551615") != spelled("18446744073709551614")
    assert spelled("-9223372036854775809") != spelled("-9223372036854775808")
