"""How the parts of an installation are: Kafka, ClickHouse, lag, open transactions, processes on this machine."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from aiokafka.errors import KafkaError

from tollgate.console.numbers import Numbers, NumbersError
from tollgate.runtime.lag import partition_lag
from tollgate.runtime.open_transactions import open_transactions
from tollgate.runtime.settings import Settings

# Looking costs Kafka some twenty requests, so all who ask share what was found.
_FRESH_SECONDS: Final = 5.0
_SECONDS_MAX: Final = 8.0

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the embedded stack."""

    role: str
    pid: int | None
    state: str
    restarts: int


@dataclass(frozen=True, slots=True)
class Found:
    """What was found. A problem is a sentence; empty when there is none. Unknown is None, never 0."""

    at_ms: int
    kafka_problem: str = ""
    clickhouse_problem: str = ""
    lag: dict[str, dict[str, dict[int, int]]] | None = None
    """Records behind by group, topic and partition."""
    open_transactions: list[str] | None = None
    """What is held up by which transaction, a sentence each."""
    written_to: str | None = None
    """`updated_at` of the newest sum that ClickHouse has."""
    processes: list[Process] = field(default_factory=list)


class Health:
    """Looks at the parts when somebody asks, at most every 5 s."""

    def __init__(self, settings: Settings, numbers: Numbers) -> None:
        self._settings, self._numbers = settings, numbers
        self._looking: asyncio.Task[Found] | None = None
        self._until = 0.0

    async def look(self) -> Found:
        """How the parts are. Takes at most 8 s."""
        looking = self._looking
        if looking is None or (looking.done() and time.monotonic() > self._until):
            looking = self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(looking)

    async def _look(self) -> Found:
        at_ms = time.time_ns() // 1_000_000
        lag, held_up, written_to = await asyncio.gather(
            _bounded(partition_lag(self._settings)),
            _bounded(open_transactions(self._settings)),
            _bounded(self._numbers.written_to()),
        )
        processes = await asyncio.to_thread(self._processes)
        self._until = time.monotonic() + _FRESH_SECONDS
        return Found(
            at_ms,
            kafka_problem=_problem("Kafka", lag, held_up),
            clickhouse_problem=_problem("ClickHouse", written_to),
            lag=lag if not isinstance(lag, Exception) else None,
            open_transactions=[one.sentence for one in held_up] if not isinstance(held_up, Exception) else None,
            written_to=written_to if not isinstance(written_to, Exception) else None,
            processes=processes,
        )

    def _processes(self) -> list[Process]:
        """Those of the embedded stack in the data directory; none where no stack runs, or it is not installed."""
        try:
            from tollgate.embedded import running_state
        except ImportError:
            return []
        state = running_state(self._settings.data_dir)
        found = state.processes if state is not None else []
        return [Process(role.role, role.pid, role.state, role.restarts) for role in found]


async def _bounded(asked: Awaitable[_Answer]) -> _Answer | Exception:
    """The answer, or why there is none."""
    try:
        async with asyncio.timeout(_SECONDS_MAX):
            return await asked
    except (KafkaError, NumbersError, OSError, TimeoutError) as error:
        return error


def _problem(part: str, *answers: object) -> str:
    error = next((answer for answer in answers if isinstance(answer, Exception)), None)
    if error is None:
        return ""
    return str(error) if isinstance(error, NumbersError) else f"{part} does not answer: {type(error).__name__}."
