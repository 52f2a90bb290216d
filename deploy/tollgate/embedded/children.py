"""Child processes that never outlive the process that started them."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

# prctl's number for "send me this signal when the thread that created me ends" (linux/prctl.h).
_PR_SET_PDEATHSIG = 1

STOP_SECONDS_MAX = 15.0


def die_with_parent() -> Callable[[], None]:
    """A function for the child to call between fork and exec; the kernel then kills it when its parent ends.

    Build it in the parent: the library is loaded before the fork. The signal follows the *thread* that forks, so start
    children from the main thread. It survives the exec. Elsewhere than on Linux it does nothing.
    """
    if sys.platform != "linux":
        return lambda: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have ended before the call above; nobody would send the signal then.
        if os.getppid() != parent:
            os._exit(1)

    return before_exec


def start_child(
    argv: Sequence[str], log: IO[bytes] | int, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> "subprocess.Popen[bytes]":
    """Start a program with its output in `log`, in a new process group, to be killed when this process ends.

    The group keeps a terminal's Ctrl-C away from it, so that its parent decides the order of the end.
    """
    return subprocess.Popen(  # noqa: S603 # the caller's own fixed command
        argv,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=cwd,
        start_new_session=True,
        preexec_fn=die_with_parent(),  # noqa: PLW1509 # the child only makes two system calls
    )


def stop_child(process: "subprocess.Popen[bytes]", seconds_max: float = STOP_SECONDS_MAX) -> int:
    """Ask it to stop, kill it after the deadline, and return its exit status. Blocks."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def wait_for(
    process: "subprocess.Popen[bytes]", is_ready: Callable[[], bool], seconds_max: float, interval: float = 0.05
) -> bool:
    """Whether the condition became true in time while the process lives. Blocks."""
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline and process.poll() is None:
        if is_ready():
            return True
        time.sleep(interval)
    return False
