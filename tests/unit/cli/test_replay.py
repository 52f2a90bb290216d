"""Which dead letters are not sent again."""

import json

from tests.support.usage import event

from tollgate.console.letters import Letter, Place, why_not
from tollgate.schemas.topics import Topic

EVENT = json.dumps(event()).encode()


def letter(value: bytes, **headers: str) -> Letter:
    return Letter(Place(0, 7), b"u1", value, tuple((name, text.encode()) for name, text in headers.items()), len(value))


def test_a_record_that_is_valid_by_now_is_sent() -> None:
    assert why_not(letter(EVENT, reason="poison"), force=False) is None


def test_a_record_that_would_be_refused_again_is_sent_by_force_alone() -> None:
    assert why_not(letter(b"{", reason="not_json"), force=False) is not None
    assert why_not(letter(b"{", reason="not_json"), force=True) is None


def test_what_is_not_whole_is_never_sent() -> None:
    cut = letter(EVENT, reason="too_large", cut="value: 10 of 20 bytes are kept")
    assert why_not(cut, force=True) == (
        "is not whole (value: 10 of 20 bytes are kept): its sender has to send it again."
    )
    packed = letter(b"packed", reason="too_large", source_offset_first="3")
    assert "in smaller batches" in (why_not(packed, force=True) or "")


def test_a_letter_is_judged_by_the_topic_that_it_goes_back_to() -> None:
    credit = {"type": "tollgate.credit.v1", "data": {"credits": "5", "kind": "bonus"}}
    entry = letter(json.dumps(event() | credit).encode(), reason="poison")
    assert why_not(entry, Topic.ENTRIES, force=False) is None
    assert why_not(entry, Topic.USAGE, force=False) is not None
    assert why_not(letter(EVENT, reason="invalid"), Topic.ENTRIES, force=False) == (
        "would be refused again, invalid: type: tollgate.usage.v1 belongs on tollgate.usage"
    )
    assert why_not(letter(EVENT, reason="invalid"), Topic.ENTRIES, force=True) is None
