"""The stack's file `stack.json`: what runs, where, and whether that is still so.

A pid alone proves nothing: after a kill -9 the file stays and the kernel gives the number to another program. So each
pid is kept with the moment its process started, and only a process with both is ours.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tollgate.embedded.errors import AlreadyRunningError

STATE_FILE = "stack.json"
LOCK_FILE = "stack.lock"
_STAT_FIELD_OF_START = 21


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, safe against reuse of its number."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "ProcessId":
        """The process that has this number now; one that does not exist is nobody's."""
        return cls(pid, _started(pid) or "")

    def is_alive(self) -> bool:
        """Whether this very process still runs. A zombie does not."""
        return bool(self.started) and _started(self.pid) == self.started

    def signal(self, number: int) -> None:
        """Send it a signal if it still is the process meant."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


@dataclass(slots=True)
class RoleState:
    """One role: `starting`, `running`, `restarting` (waits before the next start) or `stopped`."""

    role: str
    state: str = "starting"
    pid: int | None = None
    started: str = ""
    restarts: int = 0

    @property
    def process(self) -> ProcessId | None:
        """The role's present process."""
        return ProcessId(self.pid, self.started) if self.pid is not None else None


@dataclass(slots=True)
class StackState:
    """Everything about one stack that another process of the same user may want to know."""

    pid: int
    started: str
    ports: dict[str, int]
    workers: int = 1
    ready: bool = False
    processes: list[RoleState] = field(default_factory=list)
    clickhouse_password: str = ""

    @property
    def supervisor(self) -> ProcessId:
        """The process that keeps the roles running."""
        return ProcessId(self.pid, self.started)

    def is_alive(self) -> bool:
        """Whether the stack runs, as opposed to having been killed without a word."""
        return self.supervisor.is_alive()

    def write(self, data_dir: Path) -> None:
        """Replace the file at once, so that no reader sees half of it. It is the user's alone: it holds a password."""
        staged = data_dir / f".{STATE_FILE}.new"
        staged.unlink(missing_ok=True)
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(asdict(self), indent=1) + "\n")
        staged.replace(data_dir / STATE_FILE)


def read_state(data_dir: Path) -> StackState | None:
    """The file's content, None when there is none or it is not readable. It may be of a stack that was killed."""
    try:
        found: dict[str, Any] = json.loads((data_dir / STATE_FILE).read_text(encoding="utf-8"))
        return StackState(**found | {"processes": [RoleState(**role) for role in found["processes"]]})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def running_state(data_dir: Path) -> StackState | None:
    """The state of a stack that runs now in this directory, or None."""
    state = read_state(data_dir)
    return state if state is not None and state.is_alive() else None


@contextmanager
def lock_data_dir(data_dir: Path) -> Iterator[None]:
    """Hold the directory for one stack; the kernel releases it however the process ends.

    Raises AlreadyRunningError when another stack holds it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AlreadyRunningError(
                f"A stack runs in {data_dir} already: stop it with `tollgate down`, or give another --data-dir."
            ) from error
        yield


def end_leftovers(data_dir: Path, seconds_max: float = 10) -> list[str]:
    """Kill the processes of a stack whose supervisor is gone, and return their roles. Blocks until they are gone."""
    state = read_state(data_dir)
    if state is None or state.is_alive():
        return []
    left = [(role.role, role.process) for role in state.processes if role.process and role.process.is_alive()]
    for _name, process in left:
        process.signal(signal.SIGKILL)
    wait_until_gone([process for _name, process in left], seconds_max)
    return [name for name, _process in left]


def wait_until_gone(processes: list[ProcessId], seconds_max: float) -> bool:
    """Whether all have ended within the time. Blocks."""
    deadline = time.monotonic() + seconds_max
    while any(process.is_alive() for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _started(pid: int) -> str | None:
    """When the process started, in a form that only equals itself; None when there is no such process."""
    try:
        # The second field is the program's name in parentheses and may hold anything, so read from its end.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _started_elsewhere(pid)
    if fields[0] in ("Z", "X"):
        return None
    # Two of the fields before were cut off with the name.
    return f"{boot}/{fields[_STAT_FIELD_OF_START - 2]}"


def _started_elsewhere(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return None
