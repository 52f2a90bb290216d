"""A query's result while it is made: never more of it in memory than a pipe and a chunk.

The engine hands a result over as a whole, or in chunks that are each a document of their own, with a head and an end.
What it writes INTO OUTFILE is one document, made row by row, so the file is a pipe that this process reads.
"""

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

CHUNK_BYTES = 256 * 1024
# An answer begins when so much of it is there, or so long after its first bytes; until then it may become an error.
FIRST_BYTES_MAX = 1024 * 1024
FIRST_SECONDS_MAX = 0.2
# How often a query that nobody reads any more is told to end.
_CANCEL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Counters:
    """ClickHouse's counters of a query's work."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0


def counters_of(result: Any) -> Counters:
    """The counters in chDB's result object."""
    return Counters(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        elapsed_ns=round(result.elapsed() * 1e9),
    )


@dataclass(slots=True)
class Result:
    """The begin of an answer, and its rest when that was not all.

    `counters` are the whole query's when there is no rest. The rest raises QueryError when the query fails meanwhile.
    """

    first: bytes
    counters: Counters = field(default_factory=Counters)
    rest: Iterator[bytes] | None = None


class PipedQuery:
    """One query whose result comes through a pipe. Use as a context: leaving it ends the query if it still runs."""

    def __init__(self, run: Callable[[str], Any], cancel: Callable[[str], None]) -> None:
        """`run` executes the query into the file of the given path; `cancel` ends the query that writes there."""
        self._run = run
        self._cancel = cancel
        self._reader, self._writer = os.pipe()
        self._path = f"/dev/fd/{self._writer}"
        self._failure: Exception | None = None
        self._counters = Counters()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="query", daemon=True)

    def __enter__(self) -> "PipedQuery":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closed under the engine's hands the pipe would count as a failed write, so what is left is read and dropped.
        cancelled_at = 0.0
        while not self._ended:
            if time.monotonic() - cancelled_at > _CANCEL_SECONDS:
                self._cancel(self._path)
                cancelled_at = time.monotonic()
            if self._has_more(_CANCEL_SECONDS):
                self._read()
        self._thread.join()
        os.close(self._reader)

    def result(self, *, early: bool = False) -> Result:
        """Wait for the begin of the result, a short time when `early`. Raises what the query raised meanwhile."""
        parts: list[bytes] = []
        size = 0
        began_at = time.monotonic() if early else None
        while size < FIRST_BYTES_MAX:
            if began_at is not None:
                left = began_at + FIRST_SECONDS_MAX - time.monotonic()
                if left <= 0 or not self._has_more(left):
                    break
            part = self._read()
            if not part:
                self._finish()
                return Result(b"".join(parts), self._counters)
            began_at = began_at or time.monotonic()
            parts.append(part)
            size += len(part)
        return Result(b"".join(parts), rest=self._rest())

    def _rest(self) -> Iterator[bytes]:
        while part := self._read():
            yield part
        self._finish()

    def _has_more(self, seconds: float) -> bool:
        """Wait so long for bytes or the end. `select` takes no file number above 1023, and an engine has many open."""
        waiting = select.poll()
        waiting.register(self._reader, select.POLLIN)
        return bool(waiting.poll(seconds * 1000))

    def _read(self) -> bytes:
        part = os.read(self._reader, CHUNK_BYTES)
        self._ended = self._ended or not part
        return part

    def _finish(self) -> None:
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        try:
            self._counters = counters_of(self._run(self._path))
        except Exception as error:  # noqa: BLE001 # it is raised where the result is read
            self._failure = error
        finally:
            os.close(self._writer)
