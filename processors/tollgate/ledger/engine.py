"""All lanes of one process: which partitions it owns, and the steady loop of count and commit."""

import asyncio
from collections.abc import Iterable

from aiokafka import TopicPartition

from tollgate.ledger.counters import Counters
from tollgate.ledger.lane import Lane, Link
from tollgate.ledger.policy import Policy
from tollgate.ledger.shared import SharedStage
from tollgate.ledger.stage import Stage
from tollgate.ledger.users import UserStage
from tollgate.schemas.topics import Topic

# A lane may run ahead of its open transaction by this many records before fetching waits for it.
AHEAD_MAX = 20_000


class Engine:
    """Owns lanes for the partitions of `tollgate.usage` and of the internal deltas topic that the group assigns."""

    def __init__(self, link: Link, policy: Policy) -> None:
        self._link = link
        self._policy = policy
        self.counters = Counters()
        self.lanes: dict[TopicPartition, Lane] = {}
        self.ready = False
        self._stages = {link.topic_name(t): t for t in (Topic.USAGE, Topic.DELTAS)}

    @property
    def topics(self) -> frozenset[str]:
        """Full names of the topics whose records go to the lanes."""
        return frozenset(self._stages)

    def _new_lane(self, tp: TopicPartition) -> Lane:
        stage: Stage
        if self._stages[tp.topic] is Topic.USAGE:
            stage = UserStage(tp.partition, self._policy, self.counters)
        else:
            stage = SharedStage(tp.partition, self._policy)
        return Lane(stage, tp.partition, self._link, self.counters)

    async def acquire(self, assignment: Iterable[TopicPartition]) -> None:
        """Own exactly the assigned partitions: release what is gone, recover what is new, side by side."""
        wanted = {TopicPartition(*tp) for tp in assignment if tp[0] in self._stages}
        await self.release(set(self.lanes) - wanted)
        policy = self._policy
        new = {tp: self._new_lane(tp) for tp in sorted(wanted - set(self.lanes))}
        await asyncio.gather(*(lane.acquire() for lane in new.values()))
        for lane in new.values():
            if policy is not self._policy:
                lane.set_policy(self._policy)
        self.lanes.update(new)
        self.ready = True

    async def release(self, partitions: Iterable[TopicPartition]) -> None:
        """Commit and let go of these partitions, those of them that are owned."""
        self.ready = False
        gone = [lane for tp in partitions if (lane := self.lanes.pop(TopicPartition(*tp), None)) is not None]
        await asyncio.gather(*(lane.release() for lane in gone))

    def set_policy(self, policy: Policy) -> None:
        """Replace budgets and prices for every lane; what follows from it is written with the next checkpoint."""
        self._policy = policy
        for lane in self.lanes.values():
            lane.set_policy(policy)

    def checkpoint(self) -> None:
        """Start a transaction for each lane that has something to write and none under way."""
        for lane in self.lanes.values():
            lane.checkpoint()

    def tick(self) -> None:
        """Let each lane notice the time."""
        now_ms = self._link.now_ms()
        for lane in self.lanes.values():
            lane.stage.tick(now_ms)

    async def keep_pace(self) -> None:
        """Wait for the transactions of lanes that have run too far ahead of them."""
        for lane in list(self.lanes.values()):
            if lane.backlog() > AHEAD_MAX:
                await lane.settle()

    def committed_offsets(self) -> dict[TopicPartition, int]:
        """Where each lane's successor would go on, for lag tools."""
        return {lane.source: lane.committed_offset for lane in self.lanes.values() if lane.committed_offset >= 0}
