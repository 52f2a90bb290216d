"""Whatever is sent in place of a usage event is kept with its reason, and the stream goes on."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer
from tests.e2e.conftest import Stack
from tests.support.usage import event
from tests.waiting import wait_until

from tollgate.runtime.kafka import client_options, read_to_end
from tollgate.schemas.topics import Topic

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

USER = "bad-input-user"
KEY = USER.encode()


def good(event_id: str, **changes: object) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps(event(event_id, USER, **({"time": now} | changes))).encode()


def cases() -> list[tuple[str, bytes | None, str]]:
    """Name, value, and the reason for which it must be refused."""
    an_hour_ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    plain = good("bad")
    return [
        ("not JSON", b"{oops", "not_json"),
        ("a list", b"[]", "wrong_type"),
        ("a wrong type", plain.replace(b"1000", b"[1000]"), "wrong_type"),
        ("a JSON float", plain.replace(b"1000", b"1000.5"), "wrong_type"),
        ("a missing field", plain.replace(b'"subject"', b'"sub_ject"'), "missing_field"),
        ("negative usage", plain.replace(b"1000", b"-1"), "negative_usage"),
        ("NaN", plain.replace(b"1000", b"NaN"), "not_json"),
        ("70 KiB", good("bad", data={"metadata": {"padding": "x" * 70 * 1024}}), "too_large"),
        ("a naive time", good("bad", time="2026-11-21T10:00:00"), "invalid_time"),
        ("an hour in the future", good("bad", time=an_hour_ahead), "future"),
        ("invalid UTF-8", plain.replace(b'"id": "bad"', b'"id": "\xff\xfe"'), "invalid_utf8"),
        ("no value", None, "null_value"),
        ("other data under a known identity", good("first", data={"usage": {"input_tokens": 7}}), "conflict"),
        ("a number of a million digits", plain.replace(b"1000", b"1" * 1_000_000), "too_large"),
        ("a number of sixty thousand digits", plain.replace(b"1000", b"1" * 60_000), "invalid"),
    ]


async def send(stack: Stack, values: list[bytes | None]) -> list[int]:
    """Send in this order under the user's key; the offsets."""
    async with AIOKafkaProducer(**client_options(stack.settings), max_request_size=4 << 20) as producer:
        topic = stack.settings.topic(Topic.USAGE)
        return [(await producer.send_and_wait(topic, value, key=KEY)).offset for value in values]


async def letters(stack: Stack) -> dict[int, tuple[str, bytes | None, bytes]]:
    """Reason, value and error of the user's dead letters, by the offset they were refused at."""
    found = {}
    async for record in read_to_end(stack.settings, stack.settings.topic(Topic.DEAD_LETTERS)):
        if record.key == KEY:
            headers = dict(record.headers)
            found[int(headers["source_offset"])] = (headers["reason"].decode(), record.value, headers["error"])
    return found


def test_every_kind_of_bad_input_is_kept_with_its_reason_and_the_stream_goes_on(stack: Stack) -> None:
    bad = cases()
    # A good event before, between each two and after the bad ones: 0.0035 USD each, by 1,000 and 100 tokens of gpt-4o.
    values: list[bytes | None] = [good("first")]
    for number, (_, value, _) in enumerate(bad):
        values += [value, good(f"good-{number}")]
    offsets = asyncio.run(send(stack, values))
    wait_until(lambda: len(asyncio.run(letters(stack))) == len(bad), 60, f"{len(bad)} dead letters")
    found = asyncio.run(letters(stack))
    told = {name: found[offsets[2 * i + 1]] for i, (name, _, _) in enumerate(bad)}
    assert {name: reason for name, (reason, _, _) in told.items()} == {name: reason for name, _, reason in bad}
    assert all(told[name][1] == value for name, value, _ in bad), "the bytes are not the original ones"
    assert all(len(error) < 400 for _, _, error in told.values())
    counted = 1 + len(bad)

    def spent() -> tuple[int, str]:
        ran = stack.tollgate.run("spend", f"user/{USER}", "--window", "lifetime", "--json")
        return (ran.json()["events"], ran.json()["spent_usd"]) if ran.status == 0 else (0, "0")

    # 16 events of 0.0035 USD.
    wait_until(lambda: spent() == (16, "0.056"), 60, "all good events")
    assert counted == 16
    listed = stack.tollgate.ok("dead-letters", "list", "--json").json()
    assert {"conflict", "future", "too_large"} <= {letter["reason"] for letter in listed}


def test_an_unknown_model_is_priced_by_the_fallback_and_alerted_once(stack: Stack) -> None:
    value = {"provider": "openai", "model": "gpt-of-tomorrow"}
    asyncio.run(send(stack, [good(f"unknown-{n}", data=value) for n in range(3)]))

    def told() -> int:
        return sum("gpt-of-tomorrow" in json.dumps(message["body"]) for message in stack.slack.messages())

    wait_until(lambda: told() == 1, 60, "the alert")
    assert stack.tollgate.run("verify").status == 0
    assert told() == 1
