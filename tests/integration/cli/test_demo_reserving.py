"""The demo's calls that reserve, against a real broker; what a worker answers, `Decider` does."""

import pytest
from tests.integration.cli.decider import Decider
from tests.waiting import eventually

from tollgate.demo import CLIP, Work, all_at_once, one_after_another, why_denied
from tollgate.runtime.settings import Settings
from tollgate.schemas.usage_codec import EventRecord
from tollgate.sdk import FlagReader

pytestmark = pytest.mark.integration


def reader(settings: Settings) -> FlagReader:
    return FlagReader(settings.kafka_bootstrap_servers, source="video-agent", topic_prefix=settings.topic_prefix)


async def test_of_twenty_calls_at_once_ten_fit_and_each_of_them_is_made(settings: Settings) -> None:
    work = Work(CLIP, {"video_seconds": 1}, usd="0.10")
    async with Decider(settings, limit="1") as decider, reader(settings) as flags:
        denied = await all_at_once(flags, "u1", work, 20)
        assert [(error.http_status, error.available) for error in denied] == [(429, "0")] * 10

        async def made() -> bool:
            return len(decider.ids(EventRecord)) == 10 and decider.open == {}

        await eventually(made)


async def test_calls_one_after_another_end_with_the_first_that_is_denied(settings: Settings) -> None:
    async with Decider(settings, limit="1"), reader(settings) as flags:
        assert await one_after_another(flags, "u1", Work(CLIP, {"video_seconds": 1}, usd="0.60"), 3) == 3
        assert await one_after_another(flags, "u1", Work(CLIP, {"video_seconds": 1}, usd="1.01"), 3) == 0


async def test_what_is_asked_for_to_see_why_it_is_denied_is_given_back(settings: Settings) -> None:
    async with Decider(settings, limit="1") as decider, reader(settings) as flags:
        denied = await why_denied(flags, "u1", usd="1.01")
        assert denied is not None
        assert (denied.http_status, denied.error) == (429, "usage_limit_exceeded")
        assert await why_denied(flags, "u1", usd="0.99") is None

        async def free() -> bool:
            return decider.open == {}

        await eventually(free)
