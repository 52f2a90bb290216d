"""Assigns partitions to workers lane by lane, with Faust's sticky assignor.

Faust's assignor works on lanes as if they were partitions. This class translates: lanes to partitions in what the group
is sent, partitions to lanes in what it answers. So a worker keeps whole lanes over a rebalance where that is possible.
Faust deals out the lanes of a topic once: a topic that is counted beside it goes wherever they go.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.protocol.group import JoinGroupRequest
from faust.assignor.client_assignment import ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from faust.types import TP

from tollgate.ledger import partitions_of_lane


class LaneAssignor(PartitionAssignor):  # type: ignore[misc] # Faust ships no types
    """`lanes` is the same for all members of the group. `beside`: by topic the one whose lanes it is dealt with."""

    lanes: int
    beside: Mapping[str, str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._partitions: dict[str, int] = {}

    @property
    def name(self) -> str:
        """The group's protocol. It names the number of lanes, so that the broker refuses a worker with another number
        of lanes while others run, and assigns partitions anew when all workers return with another number.
        """
        return f"{self.name_of_0_1}-beside"

    @property
    def name_of_0_1(self) -> str:
        """The protocol of release 0.1, which deals out each topic for itself and reads no topic beside another."""
        return f"tollgate-{self.lanes}-lanes"

    def assign(self, cluster: Any, member_metadata: Any) -> Any:
        subscribed = [set(metadata.subscription) for metadata in member_metadata.values()]
        dealt = set().union(*subscribed)
        # In a group with a member that does not read them, nobody does.
        beside = {topic for topic in self.beside if all(topic in topics for topics in subscribed)}
        self._partitions = {
            topic: len(cluster.partitions_for_topic(topic) or ()) for topic in (dealt - self.beside.keys()) | beside
        }
        alone = {
            member: ConsumerProtocolMemberMetadata(
                metadata.version,
                [topic for topic in metadata.subscription if topic not in self.beside],
                metadata.user_data,
            )
            for member, metadata in member_metadata.items()
        }
        return super().assign(cluster, alone)

    def _get_copartitioned_groups(self, topics: set[str], cluster: Any, subscriptions: Any) -> Any:  # noqa: ARG002 # Faust's signature
        by_lanes: dict[int, set[str]] = defaultdict(set)
        for topic in topics:
            partitions = max(self._partitions.get(name, 0) for name in self._together(topic))
            if partitions:
                by_lanes[min(partitions, self.lanes)].add(topic)
        return {lanes: self._group_co_subscribed(found, subscriptions) for lanes, found in by_lanes.items()}

    def _together(self, topic: str) -> list[str]:
        """The topic, and those that are dealt with it."""
        return [topic, *(name for name, other in self.beside.items() if other == topic)]

    def _protocol_assignments(self, *args: Any) -> dict[str, ConsumerProtocolMemberAssignment]:
        return {
            member: ConsumerProtocolMemberAssignment(
                assigned.version, self._to_partitions(assigned.assignment), assigned.user_data
            )
            for member, assigned in super()._protocol_assignments(*args).items()
        }

    def _to_partitions(self, assignment: Iterable[tuple[str, list[int]]]) -> list[tuple[str, list[int]]]:
        return [
            (name, sorted(p for lane in lanes for p in partitions_of_lane(lane, self.lanes, self._partitions[name])))
            for topic, lanes in assignment
            for name in self._together(topic)
            if name in self._partitions
        ]

    def on_assignment(self, assignment: Any) -> None:
        decided = ClientMetadata.loads(self._decompress(assignment.user_data)).assignment
        in_lanes = decided.kafka_protocol_assignment(self._table_manager)
        told: dict[str, set[int]] = defaultdict(set)
        for topic, partitions in assignment.assignment:
            told[self.beside.get(topic, topic)] |= {partition % self.lanes for partition in partitions}
        assert told == {topic: set(lanes) for topic, lanes in in_lanes}, (
            "the group's leader has another number of lanes: set TOLLGATE_LANES to the same for all workers"
        )
        super().on_assignment(ConsumerProtocolMemberAssignment(assignment.version, in_lanes, assignment.user_data))
        self._active_tps = {TP(topic, p) for topic, partitions in assignment.assignment for p in partitions}

    def assigned_actives(self) -> set[TP]:
        return self._active_tps


def speak_0_1(consumer: AIOKafkaConsumer, assignor: LaneAssignor) -> None:
    """Have a consumer that has started, and not yet joined its group, offer the protocol of release 0.1 as well.

    The broker takes the one that all members know, and deals anew when the last worker of 0.1 leaves. With more than
    one assignor aiokafka would join once for each of them, so the second protocol is added to the request.
    """
    coordinator = consumer._coordinator  # noqa: SLF001 # no public way
    send, look_up = coordinator._send_req, coordinator._lookup_assignor  # noqa: SLF001 # no public way

    async def send_both(request: Any) -> Any:
        if isinstance(request, JoinGroupRequest):
            known = set(consumer.subscription()) - assignor.beside.keys()
            former = assignor.name_of_0_1, assignor.metadata(known).encode()
            request._group_protocols = [*request._group_protocols, former]  # noqa: SLF001 # no public way
        return await send(request)

    def look_up_both(name: str) -> Any:
        return assignor if name == assignor.name_of_0_1 else look_up(name)

    coordinator._send_req, coordinator._lookup_assignor = send_both, look_up_both  # noqa: SLF001 # no public way


def lane_assignor(lanes: int, beside: Mapping[str, str] | None = None) -> type[LaneAssignor]:
    """The assignor's class for a group with this number of lanes; Faust makes the instance."""
    return type("LaneAssignor", (LaneAssignor,), {"lanes": lanes, "beside": beside or {}})
