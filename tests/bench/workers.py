"""The workers of one installation, started together, and when they have shared all partitions among themselves."""

import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench import processes, quota
from tests.bench.scene import Layout, Scene

from tollgate.embedded.ports import free_ports
from tollgate.schemas.topics import DELTA_PARTITIONS

SETTLE_SECONDS = 90


@dataclass(frozen=True)
class Workers:
    """Running workers, and the ports on which they tell how they are."""

    programs: tuple[processes.Program, ...]
    ports: tuple[int, ...]
    partitions: int

    def alive(self) -> None:
        """Raise when one of them has ended."""
        for program in self.programs:
            program.alive()

    def cpu_seconds(self) -> float:
        """Processor time of all of them so far."""
        return sum(program.cpu_seconds() for program in self.programs)

    async def settled(self) -> None:
        """Wait until each has partitions and their state, and together they have all; TimeoutError after a while."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            owned = [await asyncio.to_thread(partitions_owned, port) for port in self.ports]
            if all(owned) and sum(owned) == self.partitions + DELTA_PARTITIONS:
                return
            self.alive()
            if time.monotonic() > deadline:
                raise TimeoutError(f"the workers own {owned} of {self.partitions + DELTA_PARTITIONS} partitions")
            await asyncio.sleep(0.1)


def partitions_owned(port: int) -> int:
    """How many partitions the worker on this port owns and has the state of: usage and deltas; 0 if not ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer:
            return int(json.load(answer)["partitions"])
    except OSError:
        return 0


@contextlib.contextmanager
def started(scene: Scene, prefix: str, layout: Layout) -> Iterator[Workers]:
    """The workers of the installation under the prefix. They end with the block."""
    ports = tuple(free_ports(layout.workers))
    with contextlib.ExitStack() as stack:
        programs = []
        for number, port in enumerate(ports):
            name = f"worker-{prefix.rstrip('.')}-{number}"
            env = scene.environment(prefix, layout.partitions)
            env |= {"TOLLGATE_WORKER_ID": f"worker-{number}", "TOLLGATE_WORKER_PORT": str(port)}
            program = stack.enter_context(processes.tollgate(name, ["worker"], scene.directory, env))
            programs.append(program)
            if layout.processors:
                stack.enter_context(quota.limited(program.pid, layout.processors))
        yield Workers(tuple(programs), ports, layout.partitions)
