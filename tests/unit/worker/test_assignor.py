"""Partitions are assigned lane by lane, evenly, and stay where they are when the group changes."""

from collections import Counter
from typing import Any

import faust
import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

from tollgate.worker.assignor import LaneAssignor, lane_assignor

Assigned = dict[str, dict[str, list[int]]]


class Cluster:
    """As much of aiokafka's cluster metadata as an assignor looks at."""

    def __init__(self, partitions: dict[str, int]) -> None:
        self._partitions = partitions

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self._partitions[topic]))


class Group:
    """Members of one group, the first of which is its leader."""

    def __init__(self, lanes: int, usage_partitions: int) -> None:
        self._lanes = lanes
        self._cluster = Cluster({"usage": usage_partitions, "deltas": 2})
        self.members: dict[str, LaneAssignor] = {}

    def join(self, name: str, lanes: int | None = None) -> None:
        app = faust.App("test", canonical_url=f"http://{name}")
        app.conf.PartitionAssignor = lane_assignor(lanes or self._lanes)
        self.members[name] = app.assignor

    def rebalance(self) -> Assigned:
        """What each member is told: topic to partitions."""
        leader = next(iter(self.members.values()))
        metadata = {name: member.metadata({"usage", "deltas"}) for name, member in self.members.items()}
        told: Assigned = {}
        for name, assignment in leader.assign(self._cluster, metadata).items():
            sent = type(assignment).decode(assignment.encode())
            self.members[name].on_assignment(sent)
            told[name] = dict(sent.assignment)
        return told


def test_a_lane_moves_as_a_unit_and_every_partition_has_one_owner() -> None:
    group = Group(lanes=8, usage_partitions=64)
    for name in ("a", "b", "c"):
        group.join(name)
    told = group.rebalance()
    owners = Counter(partition for topics in told.values() for partition in topics["usage"])
    assert owners == dict.fromkeys(range(64), 1)
    for topics in told.values():
        lanes = {partition % 8 for partition in topics["usage"]}
        assert sorted(topics["usage"]) == sorted(p for p in range(64) if p % 8 in lanes)
        assert len(lanes) in (2, 3)
    assert sorted(p for topics in told.values() for p in topics.get("deltas", ())) == [0, 1]


def test_a_member_that_joins_takes_half_and_the_other_keeps_what_it_had() -> None:
    group = Group(lanes=8, usage_partitions=16)
    group.join("a")
    before = set(group.rebalance()["a"]["usage"])
    assert before == set(range(16))
    group.join("b")
    told = group.rebalance()
    assert len(told["a"]["usage"]) == len(told["b"]["usage"]) == 8
    assert group.rebalance() == told


def test_with_as_many_lanes_as_partitions_each_partition_moves_alone() -> None:
    group = Group(lanes=8, usage_partitions=8)
    for name in ("a", "b", "c", "d", "e", "f", "g", "h"):
        group.join(name)
    assert sorted(len(topics["usage"]) for topics in group.rebalance().values()) == [1] * 8


def test_members_with_other_lanes_are_refused() -> None:
    group = Group(lanes=8, usage_partitions=16)
    group.join("a")
    group.join("b", lanes=4)
    with pytest.raises(AssertionError, match="TOLLGATE_LANES"):
        group.rebalance()


def test_the_members_know_which_partitions_are_theirs() -> None:
    group = Group(lanes=2, usage_partitions=4)
    group.join("a")
    group.rebalance()
    active: Any = group.members["a"].assigned_actives()
    assert active == {("usage", p) for p in range(4)} | {("deltas", p) for p in range(2)}
    assert isinstance(group.members["a"].metadata({"usage"}), ConsumerProtocolMemberMetadata)
