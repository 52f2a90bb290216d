"""The benchmark's own ClickHouse: the embedded server in the scene's directory, its tables, one statement at a time."""

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

from tests.bench import processes
from tests.bench.scene import Scene

from tollgate.embedded.ports import free_ports

DATABASE = "bench"
READY_SECONDS_MAX = 60
# Filling a table with millions of rows is one statement.
ANSWER_SECONDS_MAX = 600


class ClickHouse:
    """The embedded server, which can be killed and started again on the same port and data."""

    def __init__(self, scene: Scene, name: str) -> None:
        (self._port,) = free_ports(1)
        self._scene = scene
        self._name = name
        self.url = f"http://127.0.0.1:{self._port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[processes.Program]:
        """The server's process, once it answers. It ends with the block."""
        arguments = ["clickhouse", "--data-dir", str(self._scene.directory / self._name), "--port", str(self._port)]
        with processes.module("tollgate.embedded", arguments, self._scene.directory) as program:
            deadline = time.monotonic() + READY_SECONDS_MAX
            while True:
                with contextlib.suppress(OSError):
                    if self.query("SELECT 1", database="default") == "1":
                        break
                program.alive()
                if time.monotonic() > deadline:
                    raise TimeoutError("ClickHouse did not answer")
                time.sleep(0.1)
            yield program

    def environment(self, prefix: str, application: str) -> dict[str, str]:
        """Settings of one sink: several applications read the same topics, each from their beginning."""
        places = {"TOLLGATE_CLICKHOUSE_URL": self.url, "TOLLGATE_CLICKHOUSE_DATABASE": DATABASE}
        return self._scene.environment(prefix) | places | {"TOLLGATE_APPLICATION": application}

    def migrate(self) -> None:
        """Make the database and its tables, as a user does."""
        env = self.environment("migrate.", "migrate")
        command = ["clickhouse", "migrate"]
        with processes.tollgate("migrate", command, self._scene.directory, env) as migration:
            migration.output(timeout_seconds=READY_SECONDS_MAX)

    def query(self, sql: str, *, database: str = DATABASE) -> str:
        """The answer to one statement as tab-separated text."""
        request = Request(f"{self.url}/?database={database}", data=sql.encode())
        with urlopen(request, timeout=ANSWER_SECONDS_MAX) as response:
            return str(response.read().decode().strip())

    async def rows(self) -> int:
        """How many usage events are stored, repeats included."""
        return int(await asyncio.to_thread(self.query, "SELECT count() FROM usage_events"))


def peak_mb(pid: int) -> float:
    """The most resident memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) / 1000
