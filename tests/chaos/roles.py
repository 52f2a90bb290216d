"""Tollgate's processes as things to kill: each is started again at once, under the same name."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

from tollgate.embedded.children import start_child, stop_child
from tollgate.embedded.ports import HOST, free_ports
from tollgate.runtime.settings import Settings

READY_SECONDS_MAX = 60


def environment(settings: Settings) -> dict[str, str]:
    """The environment that gives a child these settings, and no other ones of Tollgate."""
    own = {n: v for n, v in os.environ.items() if not n.startswith("TOLLGATE_") or n == "TOLLGATE_TEST_RUN"}
    for name, value in settings.model_dump(exclude_unset=True).items():
        if value is not None:
            own[f"TOLLGATE_{name.upper()}"] = (
                value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
            )
    return own


class RoleProcess:
    """One role, for example `RoleProcess("worker", settings, directory, worker_id="worker-1")`."""

    def __init__(self, role: str, settings: Settings, directory: Path, worker_id: str = "") -> None:
        self.name = worker_id or role
        self.log = directory / f"{self.name}.log"
        self.kills = 0
        (self._port,) = free_ports(1)
        self._environment = environment(settings)
        if worker_id:
            self._environment |= {"TOLLGATE_WORKER_ID": worker_id, "TOLLGATE_WORKER_PORT": str(self._port)}
        self._program = (
            "from tollgate.runtime.settings import load_settings\n"
            f"from tollgate.{role} import run\n"
            "raise SystemExit(run(load_settings()))"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Call from the main thread: it dies with the thread that started it."""
        with self.log.open("ab") as output:
            self._process = start_child([sys.executable, "-c", self._program], output, self._environment)

    def kill(self) -> None:
        """kill -9, and start it again."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.kills += 1
        self.start()

    def revive(self) -> None:
        """Start it again if it has ended by itself, as one that was fenced does."""
        if self._process is not None and self._process.poll() is not None:
            self.start()

    def freeze(self) -> None:
        """Stop it where it stands, as a machine without time does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, not knowing that time has passed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to end, and return its exit status."""
        return stop_child(self._process) if self._process is not None else 0

    async def ready(self) -> bool:
        """Whether a worker became ready in time."""
        for _ in range(READY_SECONDS_MAX * 10):
            if await asyncio.to_thread(self._answers):
                return True
            await asyncio.sleep(0.1)
        return False

    def _answers(self) -> bool:
        try:
            with urlopen(f"http://{HOST}:{self._port}/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
