"""Defects that the simulation must find: each one breaks the engine in one place."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest.mock import patch

from tests.simulation.account_mutations import ACCOUNT_MUTATIONS, Replaced
from tests.simulation.log import SimulatedLog, SimulatedReader, SimulatedWriter

from tollgate.ledger import lane
from tollgate.ledger.lane import Lane
from tollgate.ledger.outbox import OutRecord
from tollgate.ledger.partition import FORWARDER_ROWS, Partition
from tollgate.ledger.scopes import Scopes
from tollgate.ledger.source import Source
from tollgate.ledger.user_stage import UserStage

_send, _restore, _writer, _end, _acquire = (
    SimulatedWriter.send, Source.restore, SimulatedLog.writer, SimulatedReader.end, Lane.acquire,
)  # fmt: skip


async def _send_without_waiting(
    self: SimulatedWriter, topic: str, partition: int, out: Sequence[OutRecord]
) -> list[Any]:
    for future in await _send(self, topic, partition, out):
        # Looked at, so that nobody complains, and not waited for.
        future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return []


async def _end_one_short(self: SimulatedReader, topic: str, partition: int) -> int:
    return max(await _end(self, topic, partition) - 2, 0)


def _restore_without_the_offset(self: Source, offset: int | None) -> None:
    _restore(self, offset)
    # As a group's offset would be: committed after the transaction, so behind it.
    self.next_offset = max(self.next_offset - 1, 0)


def _restore_without_the_offset_of_entries(self: Source, offset: int | None) -> None:
    _restore(self, None if self.tp.topic == "entries" else offset)


def _rows_of_whoever_is_counted(self: Partition, key: str) -> str | None:
    return None if key.startswith(FORWARDER_ROWS) else key


async def _writer_of_its_own(self: SimulatedLog, transactional_id: str) -> SimulatedWriter:
    return await _writer(self, f"{transactional_id}.{id(self)}")


async def _state_before_fencing(self: Lane) -> None:
    async with self._link.log.reader() as reader:
        for partition in self.partitions:
            await partition.read_state(reader)
            await partition.restore(reader)
    self._writer = await self._link.log.writer(self.id)
    self.recovered = True


def _commit_before_it_is_committed(self: Lane) -> None:
    """Two transactions at a time: the next begins while one is under way."""
    self._commit = None
    _begin(self)


_begin = Lane._begin


async def _take_over_without_claims(
    lane_id: str, partitions: Sequence[Partition], writer: Any, reader: Any, link: Any
) -> None:
    for partition in partitions:
        await partition.read_state(reader)


def _restore_without_the_stop(self: Scopes, rows: dict[str, bytes], offsets: dict[str, int]) -> None:
    self._stop = None
    _restore_scopes(self, rows, offsets)


_restore_scopes = Scopes.restore

_LEDGER: Final[dict[str, Replaced]] = {
    "commit without waiting for what was sent": (SimulatedWriter, "send", _send_without_waiting),
    "read the state to one record before its end": (SimulatedReader, "end", _end_one_short),
    "go on from an offset behind the state": (Source, "restore", _restore_without_the_offset),
    "count entries from the beginning at each start": (Source, "restore", _restore_without_the_offset_of_entries),
    "go on forwarding from the offset of what is counted": (Partition, "_own", _rows_of_whoever_is_counted),
    "a transactional id of each process's own": (SimulatedLog, "writer", _writer_of_its_own),
    "read the state before fencing": (Lane, "acquire", _state_before_fencing),
    "forget identities on restore": (UserStage, "remember", lambda *_: None),
    "claim nothing when lanes change": (lane, "take_over", _take_over_without_claims),
    "forget the stop on restore": (Scopes, "restore", _restore_without_the_stop),
    "two transactions of a lane at a time": (Lane, "_begin", _commit_before_it_is_committed),
}

MUTATIONS: Final = {name: (replaced,) for name, replaced in _LEDGER.items()} | ACCOUNT_MUTATIONS


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """The engine with this defect."""
    with ExitStack() as stack:
        for owner, attribute, wrong in MUTATIONS[name]:
            stack.enter_context(patch.object(owner, attribute, wrong))
        yield
