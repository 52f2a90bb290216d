"""A service asks before each call, and the demo measures from the right call to the flag.

No broker is needed: flags are handed to the reader as the topic's records.
"""

import asyncio
import json
import time

import pytest

from tollgate.demo import OFFERS, Clips, Crossing, Service
from tollgate.schemas.amounts import PICO
from tollgate.sdk import FlagReader, UnavailableError, UsagePublisher

CHAT = next(offer for offer in OFFERS if offer.service == "chat-api")


def service(flags: FlagReader) -> Service:
    return Service("chat-api", UsagePublisher("127.0.0.1:1", source="chat-api"), flags, "seed")


def flag(scope: str, state: str) -> bytes:
    blocked = state == "blocked"
    value = {
        "scope": scope,
        "state": state,
        "blocked": blocked,
        "action": "block" if blocked else "alert",
        "reason": "usage_limit_exceeded" if blocked else "threshold_reached",
        "budget": f"{scope}:day:usd",
        "window": {
            "kind": "day",
            "start": "2026-11-21T00:00:00Z",
            "end": "9999-12-31T23:59:59Z",
            "timezone": "UTC",
        },
        "limit": "5",
        "unit": "usd",
        "spent": "5",
        "percent": "100.00",
        "since": "2026-11-21T10:00:00Z",
        "until": "9999-12-31T23:59:59Z",
        "revision": 2 if blocked else 1,
    }
    return json.dumps(value).encode()


async def test_a_blocked_user_is_refused_without_a_word_to_kafka() -> None:
    flags = FlagReader("127.0.0.1:1")
    flags.take("user/u-4812", flag("user/u-4812", "blocked"))
    chat = service(flags)
    decision = await chat.call("u-4812", CHAT, {"input_tokens": 1})
    assert (decision.http_status, decision.error) == (429, "usage_limit_exceeded")
    assert (chat.tally.made, chat.tally.refused) == (0, 1)


async def test_a_blocked_model_is_refused_to_everybody() -> None:
    flags = FlagReader("127.0.0.1:1")
    flags.take("model/gpt-4o", flag("model/gpt-4o", "blocked"))
    assert CHAT.model == "gpt-4o"
    assert not service(flags).ask("u-4790", CHAT).allowed


async def test_a_warned_user_goes_on() -> None:
    flags = FlagReader("127.0.0.1:1")
    flags.take("user/u-4812", flag("user/u-4812", "warning"))
    assert service(flags).ask("u-4812", CHAT).allowed


async def crossing_of(published_ago_ms: list[int], spent_usd: int) -> Crossing:
    """What is measured when calls of 50 cents were published so long ago and the block is seen now."""
    flags = FlagReader("127.0.0.1:1")
    clips = Clips(service(flags), seconds=10)
    now = time.perf_counter()
    clips._published_at = [now - ago / 1000 for ago in published_ago_ms]
    watching = asyncio.create_task(clips.watch_block(PICO // 2, spent_usd * PICO, 5 * PICO))
    await asyncio.sleep(0)
    flags.take("user/u-4812", flag("user/u-4812", "warning"))
    flags.take("user/u-4790", flag("user/u-4790", "blocked"))
    flags.take("user/u-4812", flag("user/u-4812", "blocked"))
    async with asyncio.timeout(10):
        return await watching


@pytest.mark.parametrize(("spent_usd", "call"), [(0, 10), (1, 8), (4, 2)])
async def test_the_time_is_measured_from_the_call_that_reached_the_limit(spent_usd: int, call: int) -> None:
    # The n-th call was published n·10,000 ms ago, so the measured time says which call was taken.
    crossing = await crossing_of([n * 10_000 for n in range(1, 13)], spent_usd)
    assert crossing.after_ms is not None
    assert crossing.after_ms // 10_000 == call
    assert crossing.flag.scope == "user/u-4812"


async def test_no_time_is_told_when_another_call_must_have_crossed_the_limit() -> None:
    crossing = await crossing_of([1_000, 2_000], spent_usd=0)
    assert crossing.after_ms is None


async def test_a_call_that_kafka_does_not_confirm_is_not_counted() -> None:
    publisher = UsagePublisher("127.0.0.1:1", source="chat-api", timeout_seconds=1)
    with pytest.raises(UnavailableError):
        await publisher.start()
    chat = Service("chat-api", publisher, FlagReader("127.0.0.1:1"), "seed")
    with pytest.raises(TypeError):
        await chat.call("u-4790", CHAT, {"input_tokens": 1})
    assert chat.tally.made == 0
