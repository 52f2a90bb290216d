"""Kafka and ClickHouse for one test alone, which it may start late, kill and start again on the same port."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from tollgate.embedded.children import start_child, stop_child, wait_for
from tollgate.embedded.kafka import is_ready
from tollgate.embedded.ports import HOST, accepts_connections, free_ports

START_SECONDS_MAX = 90


class Service:
    """One embedded service, `kafka` or `clickhouse`, in a directory of its own. Nothing runs before `start`."""

    def __init__(self, name: str, directory: Path) -> None:
        self._name = name
        self._directory = directory / name
        self.log = directory / f"{name}.log"
        self.port, self._other_port = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers. Call from the main thread: it dies with the thread that started it."""
        argv = [sys.executable, "-m", "tollgate.embedded", self._name, "--data-dir", str(self._directory)]
        argv += ["--port", str(self.port)]
        if self._name == "kafka":
            argv += ["--controller-port", str(self._other_port)]
        with self.log.open("ab") as output:
            self._process = start_child(argv, output)
        assert wait_for(self._process, self._is_ready, START_SECONDS_MAX), self.log.read_text(errors="replace")[-2000:]

    def kill(self) -> None:
        """End it without a chance to do anything."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Ask it to end, if it runs."""
        if self._process is not None:
            stop_child(self._process)

    def _is_ready(self) -> bool:
        if not accepts_connections(self.port):
            return False
        return self._name != "kafka" or asyncio.run(is_ready(self.address))
