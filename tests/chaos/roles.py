"""Tollgate's processes, as targets of faults."""

import asyncio
import os
import sys
from pathlib import Path
from urllib.request import urlopen

from tests.chaos.victim import Victim

from tollgate.embedded.ports import HOST, free_ports
from tollgate.runtime.settings import Settings


def environment(settings: Settings) -> dict[str, str]:
    """The environment that gives a child these settings, and no other ones of Tollgate."""
    own = {n: v for n, v in os.environ.items() if not n.startswith("TOLLGATE_") or n == "TOLLGATE_TEST_RUN"}
    for name, value in settings.model_dump(exclude_unset=True).items():
        if value is not None:
            own[f"TOLLGATE_{name.upper()}"] = (
                value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
            )
    return own


class RoleProcess(Victim):
    """One role, for example `RoleProcess("worker", settings, directory, worker_id="worker-1")`."""

    def __init__(self, role: str, settings: Settings, directory: Path, worker_id: str = "") -> None:
        super().__init__(worker_id or role, directory)
        self._role = role
        (self._port,) = free_ports(1)
        self._environment = environment(settings)
        # For the next start alone: at which points of the engine it is to kill or stop itself.
        self.fault_points = ""
        # How many lanes a worker deals the partitions to; 0 leaves the default.
        self.lanes = 0
        if worker_id:
            self._environment |= {"TOLLGATE_WORKER_ID": worker_id, "TOLLGATE_WORKER_PORT": str(self._port)}

    def command(self) -> list[str]:
        program = (
            "from tollgate.runtime.settings import load_settings\n"
            f"from tollgate.{self._role} import run\n"
            "raise SystemExit(run(load_settings()))"
        )
        return [sys.executable, "-c", program]

    def environment(self) -> dict[str, str]:
        points, self.fault_points = self.fault_points, ""
        once = {"TOLLGATE_FAULT_POINTS": points} if points else {}
        return self._environment | once | ({"TOLLGATE_LANES": str(self.lanes)} if self.lanes else {})

    async def ready(self) -> bool:
        """A worker is ready when it says so; a sink has no page, so it is when it runs."""
        if self._role != "worker":
            return self.alive and not self.frozen
        return self.alive and await asyncio.to_thread(self._answers)

    def _answers(self) -> bool:
        try:
            with urlopen(f"http://{HOST}:{self._port}/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
