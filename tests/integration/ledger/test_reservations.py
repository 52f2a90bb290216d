"""Reservations on a real broker: exact through a kill, and denied by what another stage has blocked."""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.integration.ledger.test_worker import now, set_budget
from tests.support.usage import event
from tests.support.worker import send, start_worker, values, working
from tests.waiting import eventually

from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[3]


def reservations(prefix: str, count: int, **data: Any) -> list[dict[str, Any]]:
    given = {"amount_usd": "0.10", "ttl_seconds": 600, "reply_to": prefix, "reply_partition": 3} | data
    envelope = {"specversion": "1.0", "type": "tollgate.reservation.v1", "source": prefix, "subject": "u-1"}
    return [envelope | {"id": f"{prefix}-{n}", "time": now(), "data": given} for n in range(count)]


async def decisions(settings: Settings) -> list[dict[str, Any]]:
    return await values(settings, Topic.DECISIONS)


async def answered(settings: Settings, count: int) -> None:
    async def there() -> bool:
        return len({one["reservation_id"] for one in await decisions(settings)}) >= count

    await eventually(there, 90, f"{count} decisions")


async def client(settings: Settings, name: str, count: int) -> asyncio.subprocess.Process:
    """A service that reserves so many times at once, from its line `ready` on."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.reserving_client",
        settings.kafka_bootstrap_servers, settings.topic_prefix, name, str(count),
        stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY,
    )  # fmt: skip
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
    return process


async def test_of_a_thousand_tenths_from_four_services_exactly_ten_fit_a_dollar_through_a_kill(
    settings: Settings, tmp_path: Path
) -> None:
    await set_budget(settings, "user/u-1", "1")
    first = start_worker(settings, tmp_path / "first.log")
    try:
        # Four of the ten before the kill, so that the second worker has to know of them.
        await send(settings, reservations("early", 4))
        await answered(settings, 4)
        clients = await asyncio.gather(*(client(settings, f"client{n}", 249) for n in range(4)))
        await answered(settings, 5)
    finally:
        first.kill()
        first.wait()
    with working(settings, tmp_path / "second.log"):
        outputs = await asyncio.wait_for(asyncio.gather(*(each.communicate() for each in clients)), 120)
    told = [json.loads(output) for output, _ in outputs]
    assert sum(len(one["granted"]) for one in told) == 6
    assert Counter(error for one in told for error in one["denied"]) == {"usage_limit_exceeded": 990}
    found = await decisions(settings)
    assert len(found) == len({one["reservation_id"] for one in found}) == 1000
    assert sum(one["granted"] for one in found) == 10


async def test_a_reservation_is_denied_while_an_organisation_is_blocked(settings: Settings, tmp_path: Path) -> None:
    await set_budget(settings, "org/acme", "0.01")
    with working(settings, tmp_path / "worker.log"):
        await send(settings, [event(f"e{n}", "u-2", time=now(), data={"org": "acme"}) for n in range(3)])
        await eventually(lambda: _denied(settings), 60, "a denial by org/acme")
        await send(settings, reservations("other", 1, org="other"))
        await eventually(lambda: _granted(settings, "other-0"), 60, "a grant for another org")


async def _denied(settings: Settings) -> bool:
    known = len(await decisions(settings))
    await send(settings, reservations(f"try{known}", 1, org="acme"))
    await answered(settings, known + 1)
    return any(one.get("scope") == "org/acme" and one["http_status"] == 429 for one in await decisions(settings))


async def _granted(settings: Settings, name: str) -> bool:
    return any(one["reservation_id"] == name and one["granted"] for one in await decisions(settings))
