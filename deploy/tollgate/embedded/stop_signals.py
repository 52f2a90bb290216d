"""Waits for SIGTERM and SIGINT in a process that has threads of a library's own."""

import os
import signal
from collections.abc import Callable


def catch_stop_signals() -> Callable[[], None]:
    """A function that returns as soon as SIGTERM or SIGINT has come. Call this in the main thread.

    The kernel may give a signal of the process to any thread that does not block it, and ClickHouse's engine has such
    threads. Python runs its handlers in the main thread alone, and a main thread that waits for an Event would sleep
    on. What it reads from instead is a pipe, which Python fills in whichever thread receives the signal.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        # Without a handler of Python's own the signal would end the process at once.
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        os.read(reader, 1)

    return wait
