"""Start and stop the whole stack: in this process, or in a background process.

`python -m tollgate.embedded stack --data-dir D` is that background process.
"""

import argparse
import asyncio
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tollgate.embedded.children import stop_child
from tollgate.embedded.errors import AlreadyRunningError, EmbeddedError, NotReadyError
from tollgate.embedded.ports import PortClaims, is_free
from tollgate.embedded.role_logs import last_words, log_path, open_log
from tollgate.embedded.stack import (
    CLICKHOUSE,
    CONSOLE,
    KAFKA,
    PortPlan,
    environment,
    overrides,
    port_names,
    tollgate_stack,
)
from tollgate.embedded.stack_state import ProcessId, StackState, read_state, running_state, wait_until_gone
from tollgate.embedded.supervisor import Supervisor
from tollgate.runtime.logs import configure_logs
from tollgate.runtime.settings import Settings, load_settings
from tollgate.runtime.topics_admin import apply_topics
from tollgate.schemas.shown_text import safe

READY_SECONDS_MAX = 300
STOP_SECONDS_MAX = 60

_PASSWORD_BYTES = 24

# Exit statuses of the background process; `tollgate` has the same.
EXIT_NO = 1
EXIT_UNREACHABLE = 3


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What the user asked for. A port of 0 leaves the choice open."""

    data_dir: Path
    kafka_port: int = 0
    clickhouse_port: int = 0
    workers: int = 1
    console_port: int = 0

    def choose_password(self) -> str:
        """ClickHouse's password: `TOLLGATE_CLICKHOUSE_PASSWORD`, else the last start's, else a new one."""
        before = read_state(self.data_dir)
        given = load_settings().clickhouse_password.get_secret_value()
        return given or (before.clickhouse_password if before else "") or secrets.token_urlsafe(_PASSWORD_BYTES)

    def choose_ports(self, may_take: Callable[[int], bool] = is_free) -> dict[str, int]:
        """Ports for every role; the last start's are kept while they are free. Raises PortTakenError."""
        before = read_state(self.data_dir)
        asked = {KAFKA: self.kafka_port, CLICKHOUSE: self.clickhouse_port, CONSOLE: self.console_port}
        return PortPlan(asked, before.ports if before else {}).choose(port_names(self.workers), may_take)


async def run_stack(plan: StackPlan, on_ready: Callable[[StackState], None] = lambda _state: None) -> None:
    """Run the stack in this process until SIGTERM or SIGINT.

    Raises AlreadyRunningError, PortTakenError, MissingPartError, or NotReadyError; nothing is left running then.
    """
    _refuse_second(plan.data_dir)
    with PortClaims() as claims:
        ports = plan.choose_ports(claims.claim)
        password = plan.choose_password()
        found = overrides(plan.data_dir, ports, password)
        settings = load_settings(**found)

        async def prepare() -> None:
            await _prepare(settings, plan.data_dir, found)

        stack = tollgate_stack(plan.data_dir, ports, plan.workers, password, prepare)
        supervisor = Supervisor(stack, plan.data_dir, ports, workers=plan.workers, clickhouse_password=password)
        await supervisor.run(on_ready)


def start_detached(plan: StackPlan) -> StackState:
    """Start the stack in the background and return when it is ready. Raises like `run_stack`."""
    _refuse_second(plan.data_dir)
    # Says at once that a port which was asked for is taken. The background process makes the choice that counts.
    plan.choose_ports()
    argv = [sys.executable, "-m", "tollgate.embedded", "stack", "--data-dir", str(plan.data_dir)]
    argv += ["--kafka-port", str(plan.kafka_port), "--clickhouse-port", str(plan.clickhouse_port)]
    with open_log(plan.data_dir, "supervisor") as log:
        process = subprocess.Popen(  # noqa: S603 # our own module
            [*argv, "--console-port", str(plan.console_port), "--workers", str(plan.workers)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_SECONDS_MAX
    try:
        while time.monotonic() < deadline and process.poll() is None:
            state = running_state(plan.data_dir)
            if state is not None and state.pid == process.pid and state.ready:
                return state
            time.sleep(0.1)
    except BaseException:
        # A start that is interrupted returns at once and leaves no process running.
        stop_child(process, STOP_SECONDS_MAX)
        raise
    status = stop_child(process, STOP_SECONDS_MAX)
    if status == 0:
        raise NotReadyError("The stack was stopped before it was ready, by `tollgate down` or a signal: start again.")
    log_file = log_path(plan.data_dir, "supervisor")
    words = last_words(plan.data_dir, "supervisor")
    raise NotReadyError(f"The stack did not start: read {log_file}. Its last words: {words}")


def stop_stack(data_dir: Path, only: ProcessId | None = None) -> bool:
    """Stop the stack and wait for its end; False when none runs, or not the one whose supervisor is `only`.

    Raises NotReadyError when it had to be killed.
    """
    state = running_state(data_dir)
    if state is None or (only is not None and state.supervisor != only):
        return False
    everything = [state.supervisor, *(role.process for role in state.processes if role.process is not None)]
    state.supervisor.signal(signal.SIGTERM)
    if not wait_until_gone([state.supervisor], STOP_SECONDS_MAX):
        for process in everything:
            process.signal(signal.SIGKILL)
        wait_until_gone(everything, STOP_SECONDS_MAX)
        raise NotReadyError(f"The stack did not stop within {STOP_SECONDS_MAX} s and was killed; its data is safe.")
    return wait_until_gone(everything, STOP_SECONDS_MAX)


def stack_settings(data_dir: Path) -> dict[str, str]:
    """Settings that lead to the stack which runs in this directory; empty when none does."""
    state = running_state(data_dir)
    return overrides(data_dir, state.ports, state.clickhouse_password) if state is not None else {}


def _refuse_second(data_dir: Path) -> None:
    if running_state(data_dir) is not None:
        raise AlreadyRunningError(
            f"A stack runs in {data_dir} already: stop it with `tollgate down`, or give another --data-dir."
        )


async def _prepare(settings: Settings, data_dir: Path, found: dict[str, str]) -> None:
    """Topics and tables, before anything reads or writes them."""
    report = await apply_topics(settings)
    wrong = [f"{topic.topic} {topic.detail}" for topic in report.named("mismatch")]
    if wrong:
        raise NotReadyError(f"Topics are not as this release needs them: {'; '.join(wrong)}.")
    with open_log(data_dir, "migrate") as log:
        migrate = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tollgate.cli.main", "clickhouse", "migrate"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(found),
        )
        status = await migrate.wait()
    if status != 0:
        log_file, words = log_path(data_dir, "migrate"), last_words(data_dir, "migrate")
        raise NotReadyError(f"The tables could not be made (status {status}): read {log_file}. Its last words: {words}")


def main(arguments: list[str] | None = None) -> int:
    """Run the stack from the command line, without a word on standard output."""
    parser = argparse.ArgumentParser(prog="python -m tollgate.embedded stack", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--kafka-port", type=int, default=0)
    parser.add_argument("--clickhouse-port", type=int, default=0)
    parser.add_argument("--console-port", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(arguments)
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    where = given.data_dir.absolute()
    plan = StackPlan(where, given.kafka_port, given.clickhouse_port, given.workers, given.console_port)
    try:
        asyncio.run(run_stack(plan))
    except AlreadyRunningError as error:
        sys.stderr.write(f"{safe(str(error))}\n")
        return EXIT_NO
    except EmbeddedError as error:
        sys.stderr.write(f"{safe(str(error))}\n")
        return EXIT_UNREACHABLE
    return 0
