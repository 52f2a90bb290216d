"""What the ledger is connected to (log, topics, clock, lanes), and how a process ends after an error."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

import structlog

from tollgate.ledger.core import Core
from tollgate.ledger.endings import Endings, MemoryEndings
from tollgate.ledger.faults import Reached, nothing_happens
from tollgate.ledger.log import Log
from tollgate.schemas.topics import DELTA_PARTITIONS, LANES, USAGE_PARTITIONS, Topic

log = structlog.get_logger("tollgate.ledger")

FATAL_EXIT: Final = 70

Later = Callable[[int, Callable[[], None]], object]
Fatal = Callable[[str, BaseException | None], NoReturn]


def fatal(why: str, error: BaseException | None = None) -> NoReturn:
    """End the process at once. Memory may be ahead of the log, and only a restart makes them equal again.

    No clean-up may run: an orderly stop would commit from this memory.
    """
    log.critical("the worker stops and will recover from the log", why=why, error=repr(error) if error else None)
    os._exit(FATAL_EXIT)


def later(nanoseconds: int, call: Callable[[], None]) -> None:
    """Have something called by the running loop; at once when the time is past."""
    if nanoseconds > 0:
        asyncio.get_running_loop().call_later(nanoseconds / 10**9, call)
    else:
        call()


def nobody_watches() -> None:
    """What `awake` does where no process can sleep."""


@dataclass(frozen=True)
class Link:
    """The log, topic names, the application's name, the time, and how partitions are laid out.

    `core` counts the usage events; None takes the compiled one if it is there. `lanes` is how many lanes the partitions
    of a topic are dealt to; a topic with fewer partitions has one for each. `endings` outlive the process. `awake` is
    called before each step that may take long: a process that only works must not be taken for one that slept.
    """

    log: Log
    topic_name: Callable[[Topic], str]
    application: str
    now_ms: Callable[[], int]
    usage_partitions: int = USAGE_PARTITIONS
    delta_partitions: int = DELTA_PARTITIONS
    lanes: int = LANES
    core: Core | None = None
    endings: Endings = field(default_factory=MemoryEndings)
    reached: Reached = nothing_happens
    awake: Callable[[], None] = nobody_watches
    later: Later = later
    fatal: Fatal = fatal

    def counted_partitions(self, topic: Topic) -> int:
        """How many partitions of a source topic are counted. Usage and entries may have more, which only forward."""
        return self.delta_partitions if topic is Topic.DELTAS else self.usage_partitions


def partitions_of_lane(lane: int, lanes: int, partitions: int) -> range:
    """Partitions are dealt to lanes in turn: lane 1 of 8 has 1, 9, 17, …, 57 of 64, and of 8 partitions 1 alone."""
    return range(lane, partitions, lanes)
