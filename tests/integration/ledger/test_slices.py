"""Slices of eight processes on a real broker and worker: a limit that holds, is used, and survives kills."""

import asyncio
import json
import random
import sys
import time
from pathlib import Path

import pytest
from tests.integration.ledger.test_reservations import REPOSITORY, reservations
from tests.integration.ledger.test_worker import set_budget
from tests.support.worker import send, values, working
from tests.waiting import eventually

from tollgate.runtime.settings import Settings
from tollgate.schemas.amounts import PICO, parse_usd
from tollgate.schemas.topics import Topic

pytestmark = pytest.mark.integration

LIMIT = 10 * PICO
TTL = 6


async def client(settings: Settings, number: int, spool: Path, seed: int) -> asyncio.subprocess.Process:
    """A service that draws on slices, from its line `ready` and a line of ours on."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.slicing_client",
        settings.kafka_bootstrap_servers, settings.topic_prefix, f"client{number}", str(spool), str(TTL),
        f"{seed} {number}", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY,
    )  # fmt: skip
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 90) == b"ready\n"
    return process


async def answered(settings: Settings, ids: set[str]) -> None:
    async def there() -> bool:
        return ids <= {one["reservation_id"] for one in await values(settings, Topic.DECISIONS)}

    await eventually(there, 30, "a decision")


async def spent(settings: Settings) -> int:
    """What the worker has counted for the user, in all."""
    found = [one for one in await values(settings, Topic.SPEND) if one["scope"] == "user/u-1"]
    lifetimes = [one for one in found if one["window"]["kind"] == "lifetime"]
    return parse_usd(lifetimes[-1]["spent_usd"]) if lifetimes else 0


async def test_eight_processes_use_a_limit_and_never_pass_it_though_half_of_them_are_killed(
    settings: Settings, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    await set_budget(settings, "user/u-1", "10")
    with working(settings, tmp_path / "worker.log"):
        clients = await asyncio.gather(*(client(settings, n, tmp_path / "spool", seed) for n in range(8)))
        for each in clients:
            assert each.stdin is not None
            each.stdin.write(b"go\n")

        async def half() -> bool:
            return await spent(settings) >= LIMIT // 4

        await eventually(half, 60, "a quarter of the limit")
        for each in clients[:4]:
            each.kill()
        killed_at = time.monotonic()
        outputs = await asyncio.wait_for(asyncio.gather(*(each.communicate() for each in clients)), 120)
        told = [json.loads(output) for output, _ in outputs[4:]]
        print(told, "ended", time.monotonic() - killed_at, "s after the kill")
        total = await spent(settings)
        # Every call cost no more than it had reserved.
        assert total <= LIMIT
        assert total >= LIMIT * 95 // 100
        # Nothing is held any more, also of those that were killed: what is left can be reserved to the last tenth of a
        # cent. A limit that is used up grants nothing, whatever is asked for.
        if total < LIMIT:
            await send(settings, reservations("rest", 1, amount_usd=f"{(LIMIT - total) / PICO:.3f}"))
            await answered(settings, {"rest-0"})
            found = [one for one in await values(settings, Topic.DECISIONS) if one["reservation_id"] == "rest-0"]
            assert found[0]["granted"], found[0]["message"]
    # Even where all of a limit is used up within seconds, calls draw on slices.
    assert 0 < sum(one["waited"] for one in told) < sum(one["calls"] for one in told) - 50
