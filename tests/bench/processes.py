"""Programs that the benchmark starts, and how much processor time they take."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

PEERS_PYTHON = Path(__file__).resolve().parents[2] / ".venv-bench" / "bin" / "python"
SDK_PEERS_PYTHON = Path(__file__).resolve().parents[2] / ".venv-bench-sdk" / "bin" / "python"
PEERS = Path(__file__).resolve().parent / "peers"


class Program:
    """A process of ours that must live while it is measured."""

    def __init__(self, name: str, command: list[str], log: Path, env: dict[str, str], cwd: Path) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | env, cwd=cwd)
        self.pid = self._process.pid

    def alive(self) -> None:
        """Raise when the program has ended, with the end of what it said."""
        if self._process.poll() is not None:
            said = self._log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.name} ended with status {self._process.returncode}:\n{said}")

    def cpu_seconds(self) -> float:
        """Processor time so far, in all its threads."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def output(self, timeout_seconds: float) -> str:
        """Wait for the program's end and return what it printed."""
        self._process.wait(timeout=timeout_seconds)
        if self._process.returncode != 0:
            self.alive()
        return self._log.read_text().strip()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def said(self, text: bytes) -> int:
        """How many lines of its log hold the text."""
        return sum(text in line for line in self._log.read_bytes().splitlines())

    def stop(self) -> None:
        """End it: politely, then not."""
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def tollgate(role: str, arguments: list[str], directory: Path, env: dict[str, str]) -> Iterator[Program]:
    """One process of Tollgate as a user starts it: `tollgate worker`."""
    command = [str(Path(sys.executable).parent / "tollgate"), *arguments]
    with _running(role, command, directory, env) as program:
        yield program


@contextlib.contextmanager
def peer(script: str, directory: Path, env: dict[str, str], arguments: list[str]) -> Iterator[Program]:
    """A peer's program in the peers' environment."""
    if not PEERS_PYTHON.exists():
        raise RuntimeError("the peers are not installed: run `make bench-setup`")
    command = [str(PEERS_PYTHON), str(PEERS / script), *arguments]
    with _running(script, command, directory, env) as program:
        yield program


@contextlib.contextmanager
def module(name: str, arguments: list[str], directory: Path) -> Iterator[Program]:
    """A module in our own environment."""
    with _running(name, [sys.executable, "-m", name, *arguments], directory, {}) as program:
        yield program


@contextlib.contextmanager
def _running(name: str, command: list[str], directory: Path, env: dict[str, str]) -> Iterator[Program]:
    log = directory / f"{name.replace('/', '-')}.log"
    program = Program(name, command, log, env, cwd=Path.cwd())
    try:
        yield program
    finally:
        program.stop()
