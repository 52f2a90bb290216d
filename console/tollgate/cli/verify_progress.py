"""How far a verification is: a bar on a terminal, a line now and then elsewhere, nothing beside JSON."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from tollgate.cli.output import is_colourful, say
from tollgate.verification import Progress

# Where there is no terminal for a bar, a line is printed this often.
_LINE_SECONDS: Final = 10.0


class Pace:
    """Records per second of the present phase, and the seconds that are left of it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._phase = ""
        self._started = 0.0
        self._first = 0

    def of(self, phase: str, done: int, total: int) -> tuple[float, float | None]:
        """The rate since the phase began, 0 at its beginning; what is left is None when that is not known."""
        now = self._clock()
        if phase != self._phase:
            self._phase, self._started, self._first = phase, now, done
        seconds = now - self._started
        rate = (done - self._first) / seconds if seconds > 0 else 0.0
        return rate, (total - done) / rate if rate > 0 and total else None


class Lines:
    """Progress as plain lines: each phase once, and its numbers while it lasts."""

    def __init__(self, write: Callable[[str], None] = say, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._pace = Pace(clock)
        self._phase = ""
        self._said = 0.0

    def show(self, phase: str, done: int, total: int) -> None:
        """Show the present phase, how much of it is done, and how much there is (0: not known)."""
        rate, left = self._pace.of(phase, done, total)
        now = self._clock()
        if phase != self._phase:
            self._write(phase)
        elif now - self._said < _LINE_SECONDS:
            return
        else:
            self._write(described(phase, done, total, rate, left))
        self._phase, self._said = phase, now


def described(phase: str, done: int, total: int, rate: float, left: float | None) -> str:
    """`recomputing: 1,000 of 5,000 records, 100/s, 0:00:40 left`."""
    parts = [f"{done:,} of {total:,} records" if total else f"{done:,} records", f"{rate:,.0f}/s"]
    if left is not None:
        minutes, seconds = divmod(round(left), 60)
        parts.append(f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} left")
    return f"{phase}: {', '.join(parts)}"


@contextmanager
def showing(quiet: bool) -> Iterator[Progress]:
    """A place to show progress in; it is on stderr. `quiet` shows none."""
    if quiet:
        yield lambda _what, _done, _total: None
        return
    if not is_colourful():
        yield Lines().show
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    pace = Pace()
    with Bar(BarColumn(), TextColumn("{task.description}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def show(phase: str, done: int, total: int) -> None:
            text = described(phase, done, total, *pace.of(phase, done, total)) if done or total else phase
            bar.update(task, description=text, completed=done, total=total or None)

        yield show
