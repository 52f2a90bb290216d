"""Ends the process when the engine could not write: chDB 26.9 counts a refused write and goes on as if it were done.

So a merge on a full disk puts an empty part in the place of good ones, and an insert is acknowledged that is not there.
ClickHouse keeps merged parts for eight minutes more, and when it starts it puts a damaged part aside and takes those it
was made of. So the process ends as if it were killed, before anyone is answered, and its next start mends the data.
"""

import os
import threading
from typing import Any, NoReturn

import structlog

logger = structlog.get_logger(__name__)

# Far below the eight minutes, for a millisecond of work.
CHECK_SECONDS = 0.5

_FAILED = "SELECT sum(value) FROM system.events WHERE event = 'WriteBufferFromFileDescriptorWriteFailed'"
_ARE_COUNTED = (
    "SELECT count() FROM system.events WHERE event = 'WriteBufferFromFileDescriptorWriteFailed'"
    " SETTINGS system_events_show_zero_values = 1"
)


class FailedWrites:
    """The writes that failed since this process opened the engine. Thread-safe."""

    def __init__(self, connection: Any) -> None:
        """Watch over a connection that nobody else uses. RuntimeError when the engine does not count them."""
        self._connection = connection
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        if self._ask(_ARE_COUNTED) != 1:
            raise RuntimeError("this version of chdb does not count failed writes, so a full disk would destroy data")
        self._watching = threading.Thread(target=self._watch, name="failed-writes", daemon=True)
        self._watching.start()

    def end_if_any(self) -> None:
        """Return when every write was done, else end the process. Takes a millisecond: call before an answer leaves."""
        failed = self._ask(_FAILED)
        if failed:
            _end(failed)

    def close(self) -> None:
        """Check a last time and give the connection back."""
        self._stopping.set()
        self._watching.join()
        self.end_if_any()
        self._connection.close()

    def _watch(self) -> None:
        """Check regularly: a merge can fail without any query that would notice."""
        while not self._stopping.wait(CHECK_SECONDS):
            try:
                self.end_if_any()
            except Exception:
                # The engine may be short of memory for a moment; without this thread nobody would look any more.
                logger.exception("failed writes could not be counted")

    def _ask(self, sql: str) -> int:
        with self._lock:
            return int(self._connection.query(sql, "TabSeparated").bytes())


def _end(failed: int) -> NoReturn:
    """End at once, without closing the engine, with the status of an input/output error (74)."""
    try:
        logger.critical("ends because a write failed: is the disk full? The next start mends the data", failed=failed)
    finally:
        os._exit(os.EX_IOERR)
