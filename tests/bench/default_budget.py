"""A new default budget for a million users: from publishing it to the last flag that follows from it.

The users' state is written as a worker leaves it when it is idle, because counting them and writing their spend takes
minutes. Each user has spent another amount, so that the limit chooses how many have reached it; they lie anywhere in
the state. A worker with no budget is started, then the budget is published.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator

import msgspec
from aiokafka import AIOKafkaProducer
from tests.bench.curve import TopicEnds
from tests.bench.drain import cpu_seconds
from tests.bench.kafka import create_topics, delete_topics, load, read
from tests.bench.scene import Layout, Result, Scene, Sizes
from tests.bench.standalone import measure_alone
from tests.bench.workers import Workers, started

from tollgate.domain.spend import ScopeSpend, Spend
from tollgate.domain.windows import slot_start, windows_at
from tollgate.ledger.partition import NEXT, NEXT_ENTRIES, OFFSET_ROW
from tollgate.ledger.rows import OPEN_PREFIX
from tollgate.schemas.amounts import NANO, format_usd
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.scopes import Dimension, scope_of

USERS = 1_000_000
# The least that is of use: that the sweep has ended shows only by a flag that it finds late.
# The last one twice: the first time the broker's compiler is at work beside it.
SHARES = ("0.0001", "0.01", "0.05", "0.2", "0.2")
# A user's amounts are multiples of this: of 10⁻¹² USD.
STEP_PICOUSD = 2_500_000
# Without a common factor with the number of users, so that each gets another amount.
_STRIDE = 733_331
_LOOK_SECONDS = 0.01
# The broker shows each transaction's flags within a fraction of this.
_STILL_SECONDS = 2
_DEADLINE_SECONDS = 90


def say(text: str) -> None:
    """Progress goes to stderr; stdout has the figures."""
    print(text, file=sys.stderr, flush=True)


def state(users: int, partition: int, partitions: int, now_ms: int) -> Iterator[tuple[bytes, bytes]]:
    """The rows of a partition's state, of users who have spent 1 to `users` steps in the windows of now, each once."""
    encode = msgspec.json.Encoder().encode
    windows = windows_at(slot_start(now_ms))
    for number in range(users):
        user = f"u-{number:07d}"
        if partition_of(user.encode(), partitions) != partition:
            continue
        steps = number * _STRIDE % users + 1
        usage = {"input_tokens": steps * NANO, "output_tokens": number % 900 * NANO}
        spend = ScopeSpend.begun(windows, Spend(steps * STEP_PICOUSD, 0, 1, usage), is_base=True)
        assert spend is not None
        yield f"{OPEN_PREFIX}{scope_of(Dimension.USER, user)}".encode(), encode(spend.open_row(1))
    # All spend records of the transaction that wrote the rows are written.
    offsets = {NEXT: 0, NEXT_ENTRIES: 0, "sequence": 1, "said": 1, "clock_ms": now_ms, "writer": "bench"}
    yield OFFSET_ROW.encode(), encode(offsets)


def budget(users: int, reached_by: int) -> bytes:
    """A default budget that blocks so many of the users."""
    limit = format_usd((users - reached_by + 1) * STEP_PICOUSD)
    record = {
        "id": "default",
        "scope": "user/*",
        "limit": limit,
        "window": "month",
        "thresholds": {"critical": {"percent": "100", "action": "block"}},
        "updated_at": "2026-11-01T00:00:00Z",
    }
    return json.dumps(record).encode()


async def default_budget(scene: Scene, users: int, share: str, when: str = "") -> Result:
    """Seconds from publishing the budget until a read-committed reader can see the last flag. `when`: for the title."""
    prefix, layout = f"default-{share.replace('.', '-')}.", Layout()
    reached_by = round(users * float(share))
    await create_topics(scene.servers, prefix, layout.partitions)
    now_ms = int(time.time() * 1000)
    for partition in range(layout.partitions):
        rows = state(users, partition, layout.partitions, now_ms)
        await load(scene.servers, f"{prefix}internal.user-state", rows, partition)
    say(f"  {users:,} users written")
    with started(scene, prefix, layout) as workers:
        await workers.settled()
        # What a start brings with it is over.
        await asyncio.sleep(2)
        before = (workers.cpu_seconds(), cpu_seconds(scene.broker_pid))
        seconds = await _seconds(scene.servers, prefix, budget(users, reached_by), reached_by, workers)
        worker, broker_ = workers.cpu_seconds() - before[0], cpu_seconds(scene.broker_pid) - before[1]
    found = {key async for key, _ in read(scene.servers, f"{prefix}flags")}
    if len(found) != reached_by:
        raise AssertionError(f"{len(found)} of {reached_by} users have a flag")
    await delete_topics(scene.servers, prefix)
    # Two seconds after the last flag are among them.
    took = {"worker_processor_seconds": round(worker, 2), "broker_processor_seconds": round(broker_, 2)}
    detail = {"users": users, "flags": reached_by} | took
    say(f"  {float(share):.2%} of {users:,} users: {seconds:.2f} s, {detail}")
    title = f"a default budget that {float(share):.2%} of the users have reached{when}"
    return Result(title, seconds, "s", detail=detail)


async def _seconds(servers: str, prefix: str, value: bytes, flags: int, workers: Workers) -> float:
    """Publish the budget and wait until nothing more comes, after so many flags."""
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    await producer.start()
    try:
        async with TopicEnds(servers, f"{prefix}flags") as ends:
            count = await ends.look()
            published = changed = time.perf_counter()
            await producer.send_and_wait(f"{prefix}control", value, key=b"budget/default")
            while count < flags or time.perf_counter() - changed < _STILL_SECONDS:
                await asyncio.sleep(_LOOK_SECONDS)
                if (now := await ends.look()) != count:
                    count, changed = now, time.perf_counter()
                workers.alive()
                if time.perf_counter() - published > _DEADLINE_SECONDS:
                    raise TimeoutError(f"{count} of {flags} flags after {_DEADLINE_SECONDS} s")
    finally:
        await producer.stop()
    return changed - published


async def _all(scene: Scene, users: int, shares: list[str]) -> list[Result]:
    again = [", again" if share in shares[:number] else "" for number, share in enumerate(shares)]
    return [await default_budget(scene, users, share, when) for share, when in zip(shares, again, strict=True)]


def main() -> None:
    """This figure alone, with sizes of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.default_budget", description=__doc__)
    parser.add_argument("--users", type=int, default=USERS, help="no multiple of 733,331")
    parser.add_argument("--share", action="append", help=f"of the users who have reached it; default: {SHARES}")
    given = parser.parse_args()
    shares = given.share or list(SHARES)
    measure_alone(Sizes(seed=0), lambda scene: _all(scene, given.users, shares))


if __name__ == "__main__":
    main()
