"""`tollgate demo`: the whole stack on this machine, a month of history and live traffic, or a trace of your own."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from tollgate.cli.demo_stage import Stage
from tollgate.cli.demo_story import play
from tollgate.cli.demo_trace import play_trace
from tollgate.cli.exits import Exit, UsageError
from tollgate.cli.options import DataDir
from tollgate.cli.output import is_colourful
from tollgate.cli.services import reaching_kafka
from tollgate.cli.stack import data_directory, download_progress, embedded_errors, stack_settings_or_environment
from tollgate.demo import Screen
from tollgate.embedded import StackPlan, ensure_jars, running_state, start_detached, stop_stack
from tollgate.runtime.interrupts import run
from tollgate.runtime.logs import configure_logs
from tollgate.schemas.shown_text import safe

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CALLS_PER_SECOND_MAX = 2000


def demo(
    *,
    data_dir: DataDir = None,
    trace: Annotated[
        Path | None, Parameter(help="CSV with the columns TIMESTAMP, ContextTokens, GeneratedTokens.")
    ] = None,
    seconds: Annotated[float | None, Parameter(help="Seconds of live traffic. Default: until Ctrl-C.")] = None,
    rate: Annotated[float, Parameter(help="Live calls per second of all services together.")] = 10,
) -> Exit:
    """Play a month of history over all shipped prices, then live traffic in which users reach their limits.

    One overspends and is blocked, one has made all videos of their plan, and one has too little left for calls at once.

    Starts the embedded stack, and stops it at the end or on Ctrl-C. A stack that already runs in the data directory is
    used and left running. A second demo on the same day adds no history. With --trace it publishes that file instead,
    as user `trace` with a budget of 20 USD a month, and verifies every number.
    """
    if not 0 < rate <= _CALLS_PER_SECOND_MAX or (seconds is not None and seconds < 0):
        raise UsageError(f"--rate is above 0 and at most {_CALLS_PER_SECOND_MAX}, and --seconds not below 0.")
    if trace is not None and not trace.is_file():
        raise UsageError(f"{trace} is no file: --trace is a CSV file.")
    configure_logs("error")
    where = data_directory(data_dir)
    screen = Screen(sys.stdout, is_colourful(sys.stdout))
    screen.line("Tollgate", "usage and cost control: every number below is read from a real Kafka and ClickHouse")
    screen.gap()
    with _interruptible(), _running_stack(where, screen):
        stage = Stage(screen, stack_settings_or_environment(where), *_command(data_dir))
        run(_on_stage(stage, trace, seconds, rate))
    return Exit.OK


async def _on_stage(stage: Stage, trace: Path | None, seconds: float | None, rate: float) -> None:
    async with reaching_kafka(stage.settings):
        if trace is not None:
            await play_trace(stage, trace)
        else:
            await play(stage, seconds, rate)


@contextmanager
def _running_stack(where: Path, screen: Screen) -> Iterator[None]:
    """The stack that runs in this directory, or else a new one that is stopped at the end of the block."""
    with embedded_errors(where):
        before = running_state(where)
        if before is not None:
            _show_addresses(screen, "in use; it was running and will be left running", before.ports, where)
            yield
            return
        ensure_jars(download_progress)
        screen.line("stack", "Kafka, ClickHouse, a worker, two sinks and the console are starting")
        started = time.monotonic()
        state = None
        try:
            state = start_detached(StackPlan(where))
            _show_addresses(screen, f"ready after {time.monotonic() - started:.1f} s", state.ports, where)
            yield
        finally:
            # A second Ctrl-C would leave some processes running.
            for number in _ENDINGS:
                signal.signal(number, signal.SIG_IGN)
            screen.gap()
            screen.line("stack", "stopping")
            if state is not None:
                # Only what was started here: another may run by now, if this one was killed.
                stop_stack(where, state.supervisor)
            screen.line("", f"stopped; the data stays in {safe(_shown(where))}")


def _show_addresses(screen: Screen, how: str, ports: dict[str, int], where: Path) -> None:
    screen.line("" if how.startswith("ready") else "stack", how)
    screen.line("", f"Kafka 127.0.0.1:{ports['kafka']}   ClickHouse http://127.0.0.1:{ports['clickhouse']}")
    screen.line("", f"console http://127.0.0.1:{ports['console']}")
    screen.line("", f"data and logs in {safe(_shown(where))}")


def _shown(where: Path) -> str:
    return str(where.relative_to(Path.cwd()) if where.is_relative_to(Path.cwd()) else where)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and a closed terminal end the demo like Ctrl-C, also where the shell had that ignored."""

    def interrupt(_number: int, _frame: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    before = {number: signal.getsignal(number) for number in _ENDINGS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in _ENDINGS[1:]:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _command(data_dir: Path | None) -> tuple[str, tuple[str, ...]]:
    """How this program was called, for commands to copy: its name, and the option that selects the same stack."""
    called = sys.argv[0]
    program = called if Path(called).name == "tollgate" else "tollgate"
    return program, () if data_dir is None else ("--data-dir", str(data_dir))
