"""A retry that says the same in other words is the same event, also of an event that an earlier release counted."""

import json
from typing import Any

import pytest
from tests.support.cores import CORES, policy_of
from tests.support.usage import TIME_MS, event, record

from tollgate.domain.pricing import load_price_book
from tollgate.ledger import Counters
from tollgate.ledger.core import Core
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.user_stage import UserStage
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.schemas.usage_identity import fingerprint_as_sent, identity_digest

BOOK = load_price_book("default")
USER = next(user for user in (f"u{n}" for n in range(100)) if partition_of(user.encode(), 8) == 0)


def said(usage: str = "", more: str = "") -> bytes:
    """An event of 1,000 input tokens as JSON, with members of `usage` and of `data` as they are written."""
    whole = json.dumps(event("e1", USER, data={"usage": {"input_tokens": 1000}}))
    return whole.replace('"input_tokens": 1000}', f'"input_tokens": 1000{usage}}}{more}').encode()


PLAIN = said()
SAME = [
    (PLAIN, said(usage=', "cached_input_tokens": 0')),
    (PLAIN, said(usage=', "cached_input_tokens": "0.00", "images": 0')),
    (PLAIN, said(more=', "metadata": {"gone": null}')),
    (PLAIN, said(more=', "metadata": null, "org": null, "agent": "", "latency_ms": null')),
    (PLAIN, PLAIN.replace(b"1000}", b'"1000.0"}')),
    (said(more=', "metadata": {"n": 1}'), said(more=', "metadata": {"n": 1.0}')),
    (said(more=', "metadata": {"n": 1}'), said(more=', "metadata": {"n": 1e0, "x": null}')),
    (said(more=', "metadata": {"n": 100, "m": "a"}'), said(more=', "metadata": {"m": "a", "n": 1E+2}')),
]
OTHER = [
    (PLAIN, said(usage=', "cached_input_tokens": 1')),
    (PLAIN, said(more=', "metadata": {"n": 0}')),
    (PLAIN, said(more=', "cost_usd": "0"')),
    (said(more=', "metadata": {"n": 1}'), said(more=', "metadata": {"n": "1"}')),
    (said(more=', "metadata": {"n": 1}'), said(more=', "metadata": {"n": true}')),
    (
        said(more=', "metadata": {"n": 9772945757313177262}'),
        said(more=', "metadata": {"n": 9772945757313177263}'),
    ),
]


@pytest.fixture(params=CORES)
def stage(request: pytest.FixtureRequest) -> UserStage:
    """A stage of either core."""
    core: Core = request.param
    return UserStage(0, policy_of(BOOK), Counters(), core=core)


def outcome(stage: UserStage, *values: bytes) -> tuple[int, list[str]]:
    """How many priced records the values come to, and the reasons of their dead letters."""
    stage.apply([record(value, offset) for offset, value in enumerate(values)])
    outbox = Outbox()
    stage.write(outbox, TIME_MS)
    letters = outbox.records.get((Topic.DEAD_LETTERS, 0), [])
    return len(outbox.records.get((Topic.PRICED, 0), [])), [dict(h)["reason"].decode() for _, _, h in letters]


@pytest.mark.parametrize(("first", "second"), [*SAME, *((second, first) for first, second in SAME)])
def test_a_retry_in_other_words_counts_once_and_is_no_conflict(stage: UserStage, first: bytes, second: bytes) -> None:
    assert outcome(stage, first, second, first) == (1, [])


@pytest.mark.parametrize(("first", "second"), OTHER)
def test_a_retry_that_says_something_else_is_a_conflict(stage: UserStage, first: bytes, second: bytes) -> None:
    assert outcome(stage, first, second, second) == (1, ["conflict", "conflict"])


@pytest.mark.parametrize(("first", "second"), SAME)
def test_an_identity_that_an_earlier_release_kept_makes_no_conflict(
    stage: UserStage, first: bytes, second: bytes
) -> None:
    # As it was kept then: 16 bytes of identity, the fingerprint of what was sent, and the second, little endian.
    before = decode_usage_event(second)
    assert isinstance(before, EventRecord)
    row = identity_digest("tests", "e1") + fingerprint_as_sent(before).to_bytes(8, "little")
    stage.remember(row + (TIME_MS // 1000).to_bytes(4, "little"))
    assert outcome(stage, second) == (0, [])
    if fingerprint_as_sent(before) == fingerprint_as_sent(_decoded(first)):
        assert outcome(stage, first) == (0, [])


def _decoded(value: bytes) -> EventRecord:
    found = decode_usage_event(value)
    assert isinstance(found, EventRecord)
    return found


@pytest.mark.parametrize(
    "digits",
    [
        "9772945757313177262", "18446744073709551615", "18446744073709551616", "-9223372036854775809", "1" + "0" * 40,
        "-1" + "0" * 40, "9" * 4_000,
    ],
)  # fmt: skip
def test_an_integer_of_metadata_reaches_the_priced_record_to_the_last_digit(stage: UserStage, digits: str) -> None:
    stage.apply([record(said(more=f', "metadata": {{"order": {digits}}}'))])
    outbox = Outbox()
    stage.write(outbox, TIME_MS)
    ((_, value, _),) = outbox.records[Topic.PRICED, 0]
    assert value is not None
    assert f'"metadata":{{"order":{digits}}}'.encode() in value
    priced: Any = json.loads(value)
    assert priced["cost_usd"] == "0.0025"


def test_an_integer_of_more_than_4000_digits_is_refused(stage: UserStage) -> None:
    assert outcome(stage, said(more=f', "metadata": {{"order": {"1" * 4_001}}}')) == (0, ["invalid"])
