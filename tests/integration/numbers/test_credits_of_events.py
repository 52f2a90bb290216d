"""Sums that are added up from events have the credits that were burned, as the worker's own have."""

import uuid
from collections.abc import AsyncIterator

import pytest
from tests.integration.numbers.ledger import Event, write
from tests.integration.numbers.story import NOW

from tollgate.console.numbers import EVERYTHING, Numbers
from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.vocabulary import WindowKind
from tollgate.sinks.clickhouse import connect, migrate

pytestmark = pytest.mark.integration

JANUARY, NOVEMBER = parse_instant("2026-01-01T00:00:00Z"), parse_instant("2026-11-01T00:00:00Z")
VIDEO = {"feature": "video"}


def burning(id_: str, time: str, credits_: str, usage: dict[str, str], names: dict[str, str] | None = None) -> Event:
    return Event(id_, time, "ann", "1", usage=usage, names=names or VIDEO, more={"credits": credits_})


@pytest.fixture
async def numbers(clickhouse: str) -> AsyncIterator[Numbers]:
    """Of ann, who burned 2.5 and 3 credits for videos, of which one event was sent with `credits` of its own."""
    settings = Settings(clickhouse_url=clickhouse, clickhouse_database=f"n{uuid.uuid4().hex[:10]}")
    migrate(settings)
    client = connect(settings)
    events = [
        burning("1", "2026-01-10T08:00:00Z", "2.5", {"images": "1"}),
        burning("2", "2026-11-02T08:00:00Z", "3", {"images": "2", "credits": "700"}),
        burning("3", "2026-11-03T08:00:00Z", "0", {"credits": "50"}),
        burning("4", "2026-11-04T08:00:00Z", "8", {}, {"feature": "chat"}),
    ]
    write(client, events, NOW)
    made = Numbers(settings, now_ms=lambda: parse_instant(NOW))
    await made.start()
    yield made
    await made.stop()
    client.command(f"DROP DATABASE `{settings.clickhouse_database}`")
    client.close()


async def test_a_combination_that_no_budget_needs_has_them(numbers: Numbers) -> None:
    found = await numbers.sum_of("user/ann+feature/video", WindowKind.MONTH, NOVEMBER)
    assert found is not None
    assert (found.events, found.usage) == (2, {"images": "2", "credits": "3"})


async def test_windows_that_the_worker_no_longer_holds_have_them(numbers: Numbers) -> None:
    day = parse_instant("2026-01-10T00:00:00Z")
    (of_day,) = (await numbers.daily(EVERYTHING, day, day + 86_400_000)).items
    assert of_day.usage == {"images": "1", "credits": "2.5"}
    third = parse_instant("2026-11-03T00:00:00Z")
    (cut_off,) = (await numbers.daily(EVERYTHING, third + 1, third + 86_400_000)).items
    assert cut_off.usage == {}
