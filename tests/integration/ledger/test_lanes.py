"""More partitions than lanes on a real broker: they share transactions, move together, and stay exact."""

import asyncio
import signal
import time
from pathlib import Path

import pytest
from tests.integration.ledger.test_worker import counted, events, past
from tests.support.worker import send, values, working
from tests.waiting import eventually

from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics, delete_topics
from tollgate.schemas.topics import Topic

pytestmark = pytest.mark.integration


@pytest.mark.long
async def test_sixteen_partitions_in_four_lanes_move_between_workers_and_to_other_lanes(
    settings: Settings, tmp_path: Path
) -> None:
    own = settings.model_dump(exclude_unset=True) | {"topic_prefix": f"{settings.topic_prefix}many."}
    many = Settings.model_validate(own | {"usage_partitions": 16, "lanes": 4})
    fewer = Settings.model_validate(own | {"usage_partitions": 16, "lanes": 2})
    assert (await apply_topics(many)).ok
    with working(many, tmp_path / "zombie.log", "one") as zombie:
        await send(many, events(1_000, "a"))
        await counted(many, ("3.5", 1_000))
        log = (tmp_path / "zombie.log").read_text()
        assert "usage.3" in log
        assert "usage.4" not in log
        zombie.send_signal(signal.SIGSTOP)
        stopped_at = time.monotonic()
        with working(fewer, tmp_path / "refused.log", "two") as refused:
            # The group still has a member with four lanes, until the sleeper's session ends.
            assert await asyncio.to_thread(refused.wait, 30) == 70
        assert "TOLLGATE_LANES" in (tmp_path / "refused.log").read_text()
        await eventually(lambda: past(stopped_at + 12), 30, "the end of the session")
        with working(fewer, tmp_path / "heir.log", "one"):
            await send(many, events(1_000, "b") + events(200, "a"))
            await counted(many, ("7", 2_000))
            # Its id names lane 3 of 4, which no worker with two lanes uses: the new owner read the id in offset rows.
            zombie.send_signal(signal.SIGCONT)
            assert await asyncio.to_thread(zombie.wait, 60) == 70
            with working(fewer, tmp_path / "second.log", "two") as second:

                async def shared() -> bool:
                    return b"acquired" in (tmp_path / "second.log").read_bytes()

                await eventually(shared, 60, "the second worker's share")
                await send(many, events(1_000, "c"))
                await counted(many, ("10.5", 3_000))
                second.kill()
            await send(many, events(1_000, "d"))
            await counted(many, ("14", 4_000))
    priced = await values(many, Topic.PRICED)
    assert len(priced) == len({p["event_id"] for p in priced}) == 4_000
    await delete_topics(many)


@pytest.mark.long
async def test_a_worker_more_than_lanes_stands_by_and_takes_over(settings: Settings, tmp_path: Path) -> None:
    own = settings.model_dump(exclude_unset=True) | {"topic_prefix": f"{settings.topic_prefix}standby.", "lanes": 1}
    one_lane = Settings.model_validate(own)
    assert (await apply_topics(one_lane)).ok
    with working(one_lane, tmp_path / "first.log", "first") as first:
        await send(one_lane, events(100, "a"))
        await counted(one_lane, ("0.35", 100))
        with working(one_lane, tmp_path / "second.log", "second"):

            async def stands_by() -> bool:
                return b"standing by" in (tmp_path / "second.log").read_bytes()

            await eventually(stands_by, 60, "the second worker's assignment")
            first.kill()
            await send(one_lane, events(100, "b"))
            await counted(one_lane, ("0.7", 200))
    await delete_topics(one_lane)
