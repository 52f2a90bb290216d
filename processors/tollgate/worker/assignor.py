"""Assigns partitions to workers lane by lane, with Faust's sticky assignor.

Faust's assignor works on lanes as if they were partitions. This class translates: lanes to partitions in what the group
is sent, partitions to lanes in what it answers. So a worker keeps whole lanes over a rebalance where that is possible.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from faust.assignor.client_assignment import ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from faust.types import TP

from tollgate.ledger import partitions_of_lane


class LaneAssignor(PartitionAssignor):  # type: ignore[misc] # Faust ships no types
    """`lanes` is the same for all members of the group."""

    lanes: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._partitions: dict[str, int] = {}

    @property
    def name(self) -> str:
        """The group's protocol. It names the number of lanes, so that the broker refuses a worker with another number
        of lanes while others run, and assigns partitions anew when all workers return with another number.
        """
        return f"tollgate-{self.lanes}-lanes"

    def _get_copartitioned_groups(self, topics: set[str], cluster: Any, subscriptions: Any) -> Any:
        self._partitions = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        by_lanes: dict[int, set[str]] = defaultdict(set)
        for topic, partitions in self._partitions.items():
            if partitions:
                by_lanes[min(partitions, self.lanes)].add(topic)
        return {lanes: self._group_co_subscribed(found, subscriptions) for lanes, found in by_lanes.items()}

    def _protocol_assignments(self, *args: Any) -> dict[str, ConsumerProtocolMemberAssignment]:
        return {
            member: ConsumerProtocolMemberAssignment(
                assigned.version, self._to_partitions(assigned.assignment), assigned.user_data
            )
            for member, assigned in super()._protocol_assignments(*args).items()
        }

    def _to_partitions(self, assignment: Iterable[tuple[str, list[int]]]) -> list[tuple[str, list[int]]]:
        return [
            (topic, sorted(p for lane in lanes for p in partitions_of_lane(lane, self.lanes, self._partitions[topic])))
            for topic, lanes in assignment
        ]

    def on_assignment(self, assignment: Any) -> None:
        decided = ClientMetadata.loads(self._decompress(assignment.user_data)).assignment
        in_lanes = decided.kafka_protocol_assignment(self._table_manager)
        assert {topic: {p % self.lanes for p in ps} for topic, ps in assignment.assignment} == {
            topic: set(lanes) for topic, lanes in in_lanes
        }, "the group's leader has another number of lanes: set TOLLGATE_LANES to the same for all workers"
        super().on_assignment(ConsumerProtocolMemberAssignment(assignment.version, in_lanes, assignment.user_data))
        self._active_tps = {TP(topic, p) for topic, partitions in assignment.assignment for p in partitions}

    def assigned_actives(self) -> set[TP]:
        return self._active_tps


def lane_assignor(lanes: int) -> type[LaneAssignor]:
    """The assignor's class for a group with this number of lanes; Faust makes the instance."""
    return type("LaneAssignor", (LaneAssignor,), {"lanes": lanes})
