"""A process that faults strike: killed, frozen, thawed, asked to end. A keeper restarts it, as a supervisor would."""

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import psutil

from tollgate.embedded.children import start_child, stop_child

# How often the keeper looks. A supervisor of ours waits 0.2 s before it starts a process again.
_KEEP_SECONDS = 0.25


class Victim:
    """One process with its own log. A subclass says how it is started and when it is ready."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        # Whether it is to be started again when it ends; `held` keeps it down for a while all the same.
        self.wanted = False
        self.held = False
        # One hurt at a time.
        self.lock = asyncio.Lock()
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """The program to run."""
        raise NotImplementedError

    def environment(self) -> dict[str, str] | None:
        """Its variables, or None for this process's own."""
        return None

    async def ready(self) -> bool:
        """Whether it does its work now."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it. Call from the main thread: it dies with the thread that started it."""
        self.wanted = True
        with self.log.open("ab") as output:
            # Java leaves its report of a crash in the directory it runs in.
            self._process = start_child(self.command(), output, self.environment(), cwd=self.directory)

    @property
    def pid(self) -> int:
        """Of the process started last."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, or is frozen."""
        return self._process is not None and self._process.poll() is None

    @property
    def frozen(self) -> bool:
        """Whether a signal has stopped it."""
        return self.alive and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it where it stands, as a machine without time does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, not knowing that time has passed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to end, for good, and return its exit status; 0 if it is not to run. Blocks.

        One that is to run and has ended already has ended by itself: then it is the status of that end.
        """
        was_wanted, self.wanted = self.wanted, False
        if self._process is None:
            return 0
        if not self.alive:
            return self._process.returncode if was_wanted else 0
        self.thaw()
        return stop_child(self._process, 30)

    def revive(self) -> None:
        """Start it again if it has ended though it is wanted."""
        if self.wanted and not self.held and not self.alive:
            self.start()

    def has_said(self, line: str) -> bool:
        """Whether its log has that line."""
        return self.log.exists() and f"{line}\n".encode() in self.log.read_bytes()

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""


async def becomes(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition holds within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


async def is_ready(victim: Victim, seconds: float) -> bool:
    """Whether it is ready within the time."""
    deadline = time.monotonic() + seconds
    while not await victim.ready():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True


@contextlib.asynccontextmanager
async def kept(victims: Iterable[Victim]) -> AsyncIterator[None]:
    """Start what ends again, until the block ends."""
    chosen = list(victims)

    async def keep() -> None:
        while True:
            for victim in chosen:
                victim.revive()
            await asyncio.sleep(_KEEP_SECONDS)

    keeper = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
