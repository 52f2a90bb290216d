"""All lanes of one process: which partitions it owns, and when their transactions start."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

from aiokafka import TopicPartition

from tollgate.ledger.counters import Counters
from tollgate.ledger.forward import ForwardStage
from tollgate.ledger.lane import Lane
from tollgate.ledger.link import Link, partitions_of_lane
from tollgate.ledger.partition import Partition
from tollgate.ledger.policy import Policy
from tollgate.ledger.shared_stage import SharedStage
from tollgate.ledger.source import Source
from tollgate.ledger.spend_queue import APART_MS
from tollgate.ledger.stage import Stage
from tollgate.ledger.user_stage import UserStage
from tollgate.schemas.topics import Topic

# A lane may run ahead of its open transaction by this many records before fetching waits for it.
AHEAD_MAX = 20_000

# The topics that are read, and by whose lanes.
_LANES_OF: Final = {Topic.USAGE: Topic.USAGE, Topic.ENTRIES: Topic.USAGE, Topic.DELTAS: Topic.DELTAS}

LaneKey = tuple[Topic, int]
Recovered = Callable[[Lane], Awaitable[None]]


class Engine:
    """Owns lanes for the partitions of usage, of entries and of the internal deltas that the group assigns."""

    def __init__(self, link: Link, policy: Policy) -> None:
        self._link = link
        self._policy = policy
        self.counters = Counters()
        # What may be read, because its state is recovered, with its lane.
        self.sources: dict[TopicPartition, tuple[Source, Lane]] = {}
        self._lanes: dict[LaneKey, Lane] = {}
        self._recoveries: dict[LaneKey, asyncio.Task[None]] = {}
        # Until the first assignment there is nothing that could be read.
        self._parked = True
        self._topics = {link.topic_name(topic): topic for topic in _LANES_OF}

    @property
    def topics(self) -> frozenset[str]:
        """Full names of the topics whose records go to the lanes."""
        return frozenset(self._topics)

    @property
    def partitions(self) -> list[Partition]:
        """The partitions whose state is recovered."""
        return [partition for lane in self.recovered_lanes for partition in lane.partitions]

    @property
    def recovered_lanes(self) -> list[Lane]:
        """The lanes of these."""
        return [lane for lane in self._lanes.values() if lane.recovered]

    @property
    def assigned(self) -> bool:
        """Whether the group has said which partitions are ours. Some of them may still be recovering."""
        return not self._parked

    @property
    def ready(self) -> bool:
        """Whether every partition that is assigned is being counted.

        That may be none: with more workers than lanes, a worker stands by until another ends.
        """
        return self.assigned and not self._recoveries

    async def acquire(self, assignment: Iterable[TopicPartition], recovered: Recovered) -> None:
        """Own exactly the assigned partitions. Returns when those that stayed may be read on.

        What is new is recovered side by side in the background; `recovered` is awaited for each lane that is.
        """
        wanted = self._by_lane(assignment)
        gone = [key for key, lane in self._lanes.items() if {s.tp for s in lane.sources} != wanted.get(key)]
        await asyncio.gather(*(self._drop(key) for key in gone))
        for lane in self._lanes.values():
            lane.unpark()
        self._parked = False
        for key in sorted(wanted.keys() - self._lanes.keys()):
            lane = self._lanes[key] = self._new_lane(key, wanted[key])
            task = asyncio.get_running_loop().create_task(self._recover(key, lane, recovered))
            self._recoveries[key] = task

    async def recovered(self) -> None:
        """Wait until everything that is assigned is recovered."""
        while self._recoveries:
            await asyncio.gather(*self._recoveries.values())

    def _by_lane(self, assignment: Iterable[TopicPartition]) -> dict[LaneKey, set[TopicPartition]]:
        """The assigned partitions of our topics by the lane that they are in."""
        lanes: dict[LaneKey, set[TopicPartition]] = defaultdict(set)
        for name, partition in assignment:
            topic = self._topics.get(name)
            # Nobody writes to deltas but us, so what was added to them stays empty.
            if topic is None or (topic is Topic.DELTAS and partition >= self._link.delta_partitions):
                continue
            lanes[_LANES_OF[topic], partition % self._link.lanes].add(TopicPartition(name, partition))
        return lanes

    def _new_lane(self, key: LaneKey, assigned: Iterable[TopicPartition]) -> Lane:
        topic, number = key
        link = self._link
        # By the partition's number. While the group has a worker of release 0.1, entries are not assigned, and wait.
        read: dict[int, set[Topic]] = defaultdict(set)
        for tp in assigned:
            read[tp.partition].add(self._topics[tp.topic])
        self._check_whole(topic, number, read)
        partitions = [Partition(self._new_stage(topic, p), p, link, read[p]) for p in sorted(read)]
        return Lane(f"{link.application}.{topic.value}.{number}", partitions, link, self.counters)

    def _check_whole(self, lanes_of: Topic, lane: int, read: Mapping[int, set[Topic]]) -> None:
        """End the process when some of a lane's partitions are assigned without the others."""
        link = self._link
        for topic in set().union(*read.values(), {lanes_of}):
            numbers = sorted(number for number, topics in read.items() if topic in topics)
            # The topic may have been given more partitions; how many, only who deals them out must know.
            count = max([link.counted_partitions(topic), *(number + 1 for number in numbers)])
            if numbers != list(partitions_of_lane(lane, link.lanes, count)):
                link.fatal(
                    f"the group assigned partitions {numbers} of {topic} without the rest of lane {lane}: "
                    "all workers of a group must have the same TOLLGATE_LANES and TOLLGATE_USAGE_PARTITIONS",
                    None,
                )

    def _new_stage(self, topic: Topic, partition: int) -> Stage:
        link = self._link
        if topic is Topic.USAGE and partition >= link.usage_partitions:
            return ForwardStage(link.usage_partitions, self.counters)
        users, shared = link.usage_partitions, link.delta_partitions
        if topic is Topic.USAGE:
            return UserStage(partition, self._policy, self.counters, users, shared, link.core, APART_MS)
        return SharedStage(partition, self._policy, self.counters, shared, users, APART_MS)

    async def _recover(self, key: LaneKey, lane: Lane, recovered: Recovered) -> None:
        policy = self._policy
        try:
            await lane.acquire()
            if policy is not self._policy:
                self._set_policy(lane)
            self.sources.update({source.tp: (source, lane) for source in lane.sources})
            await recovered(lane)
            del self._recoveries[key]
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 # a partition that is assigned but not recovered must not be read
            self._link.fatal(f"{lane.id} could not be recovered", error)

    async def park(self, partitions: Iterable[TopicPartition]) -> None:
        """Commit what was applied of these partitions; until `acquire` says whose they are, write nothing more."""
        self._parked = True
        parked = (self._lanes[key] for key in self._by_lane(partitions) if key in self._lanes)
        await asyncio.gather(*(lane.park() for lane in parked))

    async def _drop(self, key: LaneKey) -> None:
        lane = self._lanes.pop(key)
        recovery = self._recoveries.pop(key, None)
        if recovery is not None:
            recovery.cancel()
            with suppress(asyncio.CancelledError):
                await recovery
        for source in lane.sources:
            self.sources.pop(source.tp, None)
        await lane.close()

    async def close(self) -> None:
        """Commit what was applied and give everything up, when the process ends in good order."""
        await self.park(list(self.sources))
        await asyncio.gather(*(self._drop(key) for key in list(self._lanes)))

    def set_policy(self, policy: Policy) -> None:
        """Replace budgets and prices for every lane. Changed flags and alerts are written with the next checkpoint."""
        self._policy = policy
        for lane in self.recovered_lanes:
            self._set_policy(lane)

    def _set_policy(self, lane: Lane) -> None:
        for partition in lane.partitions:
            partition.stage.set_policy(self._policy)

    def tick(self) -> None:
        """Let each stage notice the time."""
        now_ms = self._link.now_ms()
        for partition in self.partitions:
            partition.stage.tick(now_ms)

    async def keep_pace(self) -> None:
        """Wait for the transactions of lanes that have run too far ahead of them."""
        for lane in self.recovered_lanes:
            if lane.backlog() > AHEAD_MAX:
                await lane.settle()

    def committed_offsets(self) -> dict[TopicPartition, int]:
        """Where each source's successor would go on, for lag tools."""
        return {tp: s.committed_offset for tp, (s, _) in self.sources.items() if s.committed_offset >= 0}
