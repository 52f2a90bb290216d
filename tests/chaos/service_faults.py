"""Faults of what Tollgate depends on: Kafka, ClickHouse, their disks, and Slack."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from tests.chaos.limits import budget
from tests.chaos.schedule import Deed
from tests.chaos.services import Broker, Disk
from tests.chaos.victim import becomes, is_ready
from tests.chaos.world import READY_SECONDS_MAX, NotMetError, World
from tests.integration.clickhouse.door import Way
from tests.support import slack_server

from tollgate.runtime.kafka import client_options
from tollgate.schemas.topics import Topic

Fault = Callable[[World, Deed], Awaitable[None]]

# How long something may take to happen that the load makes happen all the time.
_MET_SECONDS_MAX = 45


async def kill_broker(world: World, deed: Deed) -> None:
    """kill -9, and start it again."""
    async with world.kafka_lock:
        await _kill(world, await _broker(world, deed))


async def restart_broker(world: World, deed: Deed) -> None:
    """SIGTERM: Kafka hands over what it leads and ends; then it starts again."""
    async with world.kafka_lock:
        broker = await _broker(world, deed)
        world.say(f"  restart {broker.name}")
        broker.held = True
        try:
            await asyncio.to_thread(broker.stop)
        finally:
            broker.wanted, broker.held = True, False
        assert await is_ready(broker, READY_SECONDS_MAX), f"{broker.name}: {broker.last_words()}"


async def kill_coordinator(world: World, deed: Deed) -> None:
    """kill -9 of the broker that leads a partition of the transactions' log: its coordinator moves elsewhere."""
    async with world.kafka_lock:
        await _kill(world, await _leader(world, deed, "__transaction_state"))


async def kill_group_coordinator(world: World, deed: Deed) -> None:
    """kill -9 of the broker that leads a partition of the groups' log."""
    async with world.kafka_lock:
        await _kill(world, await _leader(world, deed, "__consumer_offsets"))


async def kill_leader(world: World, deed: Deed) -> None:
    """kill -9 of the broker that leads a partition of the usage topic."""
    async with world.kafka_lock:
        await _kill(world, await _leader(world, deed, world.settings.topic(Topic.USAGE)))


def frozen_broker(seconds: tuple[float, float]) -> Fault:
    """SIGSTOP, and SIGCONT after a while."""

    async def freeze(world: World, deed: Deed) -> None:
        async with world.kafka_lock:
            broker = await _broker(world, deed)
            duration = deed.between(*seconds)
            world.say(f"  freeze {broker.name} for {duration:.1f} s")
            broker.freeze()
            try:
                await asyncio.sleep(duration)
            finally:
                broker.thaw()
            assert await is_ready(broker, READY_SECONDS_MAX), f"{broker.name}: {broker.last_words()}"

    return freeze


async def _kill(world: World, broker: Broker) -> None:
    world.say(f"  kill {broker.name}")
    broker.kill()
    assert await is_ready(broker, READY_SECONDS_MAX), f"{broker.name}: {broker.last_words()}"


async def _broker(world: World, deed: Deed) -> Broker:
    broker = world.brokers[deed.among(len(world.brokers))]
    assert await is_ready(broker, READY_SECONDS_MAX), f"{broker.name}: {broker.last_words()}"
    return broker


async def _leader(world: World, deed: Deed, topic: str) -> Broker:
    admin = AIOKafkaAdminClient(**client_options(world.settings))
    try:
        await admin.start()
        (found,) = await admin.describe_topics([topic])
    except (KafkaError, OSError) as error:
        raise NotMetError(f"the leaders of {topic} are not known: {error!r}") from error
    finally:
        await admin.close()
    leaders = [int(partition["leader"]) for partition in sorted(found["partitions"], key=lambda p: int(p["partition"]))]
    if not leaders or leaders[deed.among(len(leaders))] < 1:
        raise NotMetError(f"{topic} has no leader there")
    broker = world.brokers[leaders[deed.among(len(leaders))] - 1]
    assert await is_ready(broker, READY_SECONDS_MAX), f"{broker.name}: {broker.last_words()}"
    return broker


async def fill_broker_disk(world: World, deed: Deed) -> None:
    """The disk of Kafka's log fills up: the broker ends, as it does without a log. Then there is room again."""
    async with world.kafka_lock:
        broker = await _broker(world, deed)
        disk = _disk_of(broker.disk)
        world.say(f"  the disk of {broker.name} is full")
        broker.held = True
        disk.fill()
        try:
            ended = await becomes(lambda: not broker.alive, _MET_SECONDS_MAX)
            await asyncio.sleep(deed.between(0, 3))
        finally:
            disk.free()
            if broker.alive:
                broker.kill()
            broker.held = False
        assert await is_ready(broker, READY_SECONDS_MAX), f"{broker.name}: {broker.last_words()}"
        if not ended:
            raise NotMetError(f"{broker.name} did not notice that its disk was full")


async def fill_clickhouse_disk(world: World, deed: Deed) -> None:
    """The disk of ClickHouse's data fills up for a while: inserts fail, and must not be taken for done.

    An insert is refused, or the server finds that a merge was not written, ends, and mends its data when it starts.
    """
    disk = _disk_of(world.database.disk)
    async with world.database.lock:
        world.say("  the disk of ClickHouse is full")
        refused, pid = _refusals(world), world.database.pid
        disk.fill()
        try:
            met = await becomes(lambda: _refusals(world) > refused or world.database.pid != pid, _MET_SECONDS_MAX)
            await asyncio.sleep(deed.between(0, 4))
        finally:
            disk.free()
    if not met:
        raise NotMetError("nothing was inserted while the disk was full")


def _refusals(world: World) -> int:
    return world.clickhouse_sink.log.read_bytes().count(b"NOT_ENOUGH_SPACE")


def _disk_of(disk: Disk | None) -> Disk:
    if disk is None:
        raise NotMetError("no disk of its own can be mounted here")
    return disk


async def lose_insert_answers(world: World, deed: Deed) -> None:
    """ClickHouse has inserted, and the sink never hears of it."""
    await _at_the_door(world, deed, Way.ANSWER_LOST)


async def shut_clickhouse_out(world: World, deed: Deed) -> None:
    """The sink's connections are closed before anything passes."""
    world.say("  ClickHouse cannot be reached")
    world.door.way = Way.SHUT
    try:
        await asyncio.sleep(deed.between(0.5, 5))
    finally:
        world.door.way = Way.OPEN


async def _at_the_door(world: World, deed: Deed, way: Way) -> None:
    inserted = world.door.inserted
    wanted = inserted + 1 + int(deed.amount * 3)
    world.say(f"  the answers to {wanted - inserted} inserts are lost")
    world.door.way = way
    try:
        met = await becomes(lambda: world.door.inserted >= wanted, _MET_SECONDS_MAX)
    finally:
        world.door.way = Way.OPEN
    if not met and world.door.inserted == inserted:
        raise NotMetError("nothing was inserted")


async def stop_or_resume(world: World, deed: Deed) -> None:
    """Somebody stops all spending by hand, or lets it go on."""
    await world.toggle_stop(f"fault {deed.number}")
    world.say(f"  {world.stopped.sentence}")


async def set_new_budget(world: World, deed: Deed) -> None:
    """Somebody sets a budget on what was not counted apart before, in the middle of its window."""
    later = world.people.later
    if not later:
        raise NotMetError("all budgets are set")
    limit = later[deed.among(len(later))]
    world.say(f"  {limit.name} in the calendar {limit.calendar}")
    await world.set_budget(limit)


def slack_fault(kind: Literal["limit", "status", "drop", "delay"], accept: bool) -> Fault:
    """Slack limits, breaks down, loses its answer or is slow, a few times, while there is something to tell it."""

    async def happen(world: World, deed: Deed) -> None:
        times = 1 + int(deed.amount * 3)
        world.say(f"  Slack: {kind}, {times} times{', the message posted all the same' if accept else ''}")
        fault = slack_server.Fault(kind, "*", times, accept, seconds=12 if kind == "delay" else 1)
        world.slack.faults.append(fault)
        # Something to tell: a limit that was passed long ago, or will be.
        most = ("0.05", "0.2", "0.7", "3")[int(deed.amount * 4)]
        await world.set_budget(budget(f"user/chaos-{deed.among(60)}", most))
        if not await becomes(lambda: fault.times < times, _MET_SECONDS_MAX):
            world.slack.faults.remove(fault)
            raise NotMetError("nothing was told meanwhile")

    return happen
