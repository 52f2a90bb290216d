"""Which records a worker was counting when it ended itself, so that one record cannot end it for ever.

A worker that fails ends at once, recovers from the log and meets the same records again. If one of them makes it fail,
that would never stop. So a note outlives the process. After the first ending its records are counted one at a time,
each in a transaction of its own, which finds the one that fails. A record that has ended the worker three times is put
aside as a dead letter with the reason `poison`.

Only failures that records can cause are noted: an error while counting, or a record that Kafka refuses for its size. A
lost connection, a fenced producer or `kill -9` says nothing about a record.
"""

import os
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

# A record that ended the worker so many times in a row is not tried again.
TIMES_MAX: Final = 3

log = structlog.get_logger("tollgate.ledger")


class Ending(msgspec.Struct, frozen=True):
    """Records of one partition, by their offsets `[first, end)`, and how many times in a row they ended the worker."""

    first: int
    end: int
    times: int
    error: str

    @property
    def is_poison(self) -> bool:
        """Whether it is known which record it was, and that record was tried often enough."""
        return self.times >= TIMES_MAX and self.end == self.first + 1


class Endings(Protocol):
    """The notes of one worker. `note` is called just before the process ends, and must not fail."""

    def of(self, tp: TopicPartition) -> Ending | None:
        """What is noted of a partition."""

    def note(self, tp: TopicPartition, first: int, end: int, error: BaseException) -> None:
        """The process ends because of one of these records."""

    def forget(self, tp: TopicPartition) -> None:
        """These records are counted."""


class MemoryEndings:
    """Notes that end with the process that holds them: for engines whose process nobody starts again."""

    def __init__(self) -> None:
        self._notes: dict[TopicPartition, Ending] = {}

    def of(self, tp: TopicPartition) -> Ending | None:
        return self._notes.get(tp)

    def note(self, tp: TopicPartition, first: int, end: int, error: BaseException) -> None:
        self._notes[tp] = _added(self._notes.get(tp), first, end, error)

    def forget(self, tp: TopicPartition) -> None:
        self._notes.pop(tp, None)


class FileEndings:
    """Notes in a JSON file of one worker. A file that cannot be read counts as empty, and is written anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._notes: dict[str, Ending] = {}
        try:
            self._notes = msgspec.json.decode(path.read_bytes(), type=dict[str, Ending])
        except FileNotFoundError:
            # As at every first start.
            pass
        except (ValueError, RecursionError, OSError) as error:
            log.warning("notes of earlier endings cannot be read and are left out", error=type(error).__name__)

    def of(self, tp: TopicPartition) -> Ending | None:
        return self._notes.get(_name(tp))

    def note(self, tp: TopicPartition, first: int, end: int, error: BaseException) -> None:
        self._notes[_name(tp)] = _added(self.of(tp), first, end, error)
        self._write()

    def forget(self, tp: TopicPartition) -> None:
        if self._notes.pop(_name(tp), None) is not None:
            self._write()

    def _write(self) -> None:
        fresh = self._path.with_suffix(".fresh")
        try:
            with fresh.open("wb") as file:
                file.write(msgspec.json.encode(self._notes))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            # A full disk must not keep the process from ending. It then recovers as if nothing was noted.
            log.error("the records that ended this worker could not be noted", error=type(error).__name__)


def can_be_caused_by_records(error: BaseException) -> bool:
    """Whether the content of records can be why this was raised."""
    if isinstance(error, KafkaError):
        return isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError)
    if isinstance(error, OSError):
        return False
    # The compiled core's own failure is no Exception, so that nobody catches it by accident.
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _added(before: Ending | None, first: int, end: int, error: BaseException) -> Ending:
    again = before is not None and before.first <= first < before.end
    return Ending(first, end, before.times + 1 if before is not None and again else 1, type(error).__name__)


def _name(tp: TopicPartition) -> str:
    return f"{tp.topic}:{tp.partition}"
