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
    """Members of one group, the first of which is its leader. `entries` may have other partitions than usage."""

    def __init__(self, lanes: int, usage_partitions: int, entries: int | None = None) -> None:
        self._lanes = lanes
        self._cluster = Cluster({"usage": usage_partitions, "entries": entries or usage_partitions, "deltas": 2})
        self.members: dict[str, LaneAssignor] = {}

    def join(self, name: str, lanes: int | None = None) -> None:
        app = faust.App("test", canonical_url=f"http://{name}")
        app.conf.PartitionAssignor = lane_assignor(lanes or self._lanes, {"entries": "usage"})
        self.members[name] = app.assignor

    def rebalance(self, *, entries: bool = True) -> Assigned:
        """What each member is told: topic to partitions. Without `entries` they speak the protocol of release 0.1."""
        leader = next(iter(self.members.values()))
        topics = {"usage", "entries", "deltas"} if entries else {"usage", "deltas"}
        metadata = {name: member.metadata(topics) for name, member in self.members.items()}
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
    assert active == {(topic, p) for topic in ("usage", "entries") for p in range(4)} | {("deltas", 0), ("deltas", 1)}
    assert isinstance(group.members["a"].metadata({"usage"}), ConsumerProtocolMemberMetadata)


@pytest.mark.parametrize("lanes", [2, 8, 16])
@pytest.mark.parametrize(("usage", "entries"), [(8, 8), (12, 8), (8, 12), (64, 64)])
def test_partition_n_of_usage_and_of_entries_are_one_members(lanes: int, usage: int, entries: int) -> None:
    group = Group(lanes, usage, entries)
    names = ["a", "b", "c"]
    for name in names:
        group.join(name)
        told = group.rebalance()
        owners = {
            topic: {p: member for member, topics in told.items() for p in topics.get(topic, ())}
            for topic in ("usage", "entries")
        }
        assert owners["usage"].keys() == set(range(usage))
        assert owners["entries"].keys() == set(range(entries))
        for partition in range(min(usage, entries)):
            assert owners["usage"][partition] == owners["entries"][partition]
        lanes_of = {(p % lanes, member) for owned in owners.values() for p, member in owned.items()}
        assert len(lanes_of) == len({lane for lane, _ in lanes_of})


def test_entries_are_nobodys_while_a_member_does_not_read_them_and_usage_stays_where_it_was() -> None:
    group = Group(lanes=8, usage_partitions=16)
    for name in ("a", "b"):
        group.join(name)
    mixed = group.rebalance(entries=False)
    assert sorted(p for topics in mixed.values() for p in topics["usage"]) == list(range(16))
    assert all("entries" not in topics for topics in mixed.values())
    after = group.rebalance()
    assert {name: topics["usage"] for name, topics in after.items()} == {n: t["usage"] for n, t in mixed.items()}
    assert {name: topics["entries"] for name, topics in after.items()} == {n: t["usage"] for n, t in mixed.items()}


def test_a_group_has_a_protocol_of_its_own_beside_that_of_release_0_1() -> None:
    group = Group(lanes=8, usage_partitions=8)
    group.join("a")
    assert (group.members["a"].name, group.members["a"].name_of_0_1) == ("tollgate-8-lanes-beside", "tollgate-8-lanes")
