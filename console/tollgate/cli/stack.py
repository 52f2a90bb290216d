"""`tollgate up`, `down` and `status`: the embedded stack on this machine."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from aiokafka.errors import KafkaError
from cyclopts import Parameter
from rich.console import Console

from tollgate.cli.exits import AnswerIsNoError, Exit, UnreachableError, UsageError
from tollgate.cli.options import AsJson, DataDir
from tollgate.cli.output import print_json, print_line, print_table
from tollgate.runtime.interrupts import run
from tollgate.runtime.lag import consumer_lag
from tollgate.runtime.logs import configure_logs
from tollgate.runtime.open_transactions import OpenTransaction, open_transactions
from tollgate.runtime.settings import Settings, load_settings
from tollgate.runtime.topic_comparison import TopicOutcome
from tollgate.runtime.topics_admin import apply_topics

if TYPE_CHECKING:
    from tollgate.embedded import StackState

Port = Annotated[int, Parameter(help="Port on 127.0.0.1. 0 takes the last one used, or any free one.")]


def up(
    *,
    data_dir: DataDir = None,
    kafka_port: Port = 0,
    clickhouse_port: Port = 0,
    console_port: Port = 0,
    workers: Annotated[int, Parameter(help="Number of worker processes.")] = 1,
    detach: Annotated[bool, Parameter(negative="", help="Return when ready and leave the stack running.")] = False,
    as_json: AsJson = False,
) -> Exit:
    """Start a real Kafka broker, a ClickHouse engine, workers, sinks and the console on this machine.

    The first start downloads the broker's jars (45 MB) from Maven Central. Data survives a restart. Without --detach
    the stack runs until Ctrl-C.
    """
    from tollgate.embedded import StackPlan, ensure_jars, run_stack, start_detached

    if not 1 <= workers <= 8 or not all(0 <= port <= 65535 for port in (kafka_port, clickhouse_port, console_port)):
        raise UsageError("--workers is 1 to 8 (one per partition at most) and a port 0 to 65535.")
    plan = StackPlan(data_directory(data_dir), kafka_port, clickhouse_port, workers, console_port)
    with embedded_errors(plan.data_dir):
        ensure_jars(download_progress)
        if detach:
            _print_ready(start_detached(plan), plan.data_dir, as_json)
        else:
            settings = load_settings()
            # The roles write to their own files; a terminal shows what needs attention.
            configure_logs("warning" if settings.log_level == "info" else settings.log_level, settings.log_format)
            asyncio.run(run_stack(plan, lambda state: _print_ready(state, plan.data_dir, as_json)))
    return Exit.OK


def down(*, data_dir: DataDir = None, as_json: AsJson = False) -> Exit:
    """Stop the stack and wait until it is down. Succeeds when no stack runs."""
    from tollgate.embedded import stop_stack

    where = data_directory(data_dir)
    with embedded_errors(where):
        stopped = stop_stack(where)
    if as_json:
        print_json({"stopped": stopped, "data_dir": str(where)})
    else:
        print_line("Stopped." if stopped else f"Nothing runs in {where}.")
    return Exit.OK


def status(*, data_dir: DataDir = None, as_json: AsJson = False) -> Exit:
    """Show what runs, how far behind it is, and what holds it up. Exit 1 without a stack, 3 when Kafka is away.

    Lag counts what a reader of committed records can see. Behind a transaction that a service left open there may be
    more: it is shown with the partition, how long it waits and for whom.
    """
    from tollgate.embedded import running_state

    where = data_directory(data_dir)
    state = running_state(where)
    if state is None:
        if as_json:
            print_json({"processes": [], "lag": {}, "ports": {}})
        raise AnswerIsNoError(f"no stack runs in {where}: start one with `tollgate up`.")
    processes = [
        {"role": found.role, "pid": found.pid, "state": found.state, "restarts": found.restarts}
        for found in state.processes
    ]
    # aiokafka would log each attempt at a broker that is down; the one sentence below says it.
    configure_logs("error")
    problem = None
    settings = stack_settings_or_environment(where)
    lag: dict[str, dict[str, int]] = {}
    held_up: list[OpenTransaction] = []
    topics: list[TopicOutcome] = []
    try:
        lag, held_up, topics = run(asyncio.wait_for(_ask_kafka(settings), timeout=25))
    except (KafkaError, OSError, TimeoutError) as error:
        log = where / "logs" / "kafka.log"
        problem = f"Kafka cannot be reached, so lag is unknown ({type(error).__name__}): read {log}."
    if as_json:
        waiting = [{**asdict(found), "detail": found.sentence} for found in held_up]
        told = [asdict(topic) for topic in topics]
        print_json(
            {"processes": processes, "lag": lag, "ports": state.ports, "open_transactions": waiting, "topics": told}
        )
    else:
        _print_status(processes, lag, state.ports)
        for found in held_up:
            print_line(f"{found.sentence}.")
            print_line(f"  → {found.fix(settings.kafka_bootstrap_servers)}")
        for topic in topics:
            print_line(f"{topic.topic} {topic.detail}.")
    if problem is not None:
        raise UnreachableError(problem)
    return Exit.OK


async def _ask_kafka(
    settings: Settings,
) -> tuple[dict[str, dict[str, int]], list[OpenTransaction], list[TopicOutcome]]:
    """Lag, what holds partitions up, and the topics that are not as specified."""
    lag, held_up = await consumer_lag(settings), await open_transactions(settings)
    report = await apply_topics(settings, dry_run=True)
    return lag, held_up, [topic for topic in report.topics if topic.action != "unchanged"]


def data_directory(given: Path | None) -> Path:
    """The data directory that a command means, absolute."""
    return (given or load_settings().data_dir).expanduser().absolute()


def stack_settings_or_environment(data_dir: Path) -> Settings:
    """Settings that lead to the stack in this directory if one runs, else those of the environment."""
    from tollgate.embedded import stack_settings

    return load_settings(**stack_settings(data_dir))


@contextmanager
def embedded_errors(data_dir: Path) -> Iterator[None]:
    """Turn what the embedded stack raises on purpose into one sentence and an exit status."""
    from tollgate.embedded import AlreadyRunningError, EmbeddedError, PortTakenError

    try:
        yield
    except AlreadyRunningError as error:
        raise AnswerIsNoError(str(error)) from error
    except PortTakenError as error:
        raise UsageError(str(error)) from error
    except EmbeddedError as error:
        raise UnreachableError(str(error)) from error
    except KafkaError as error:
        raise UnreachableError(f"Kafka refused what the stack needs ({error}): read {data_dir}/logs.") from error


@contextmanager
def download_progress(jars: int, size_bytes: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr for the first start's download; a line where stderr is no terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        # A log file wants one line per fact, not a bar.
        console.print(f"Downloading {jars} jars, {size_bytes // 1_000_000} MB, from Maven Central.", highlight=False)
        yield lambda _arrived: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"Downloading Kafka ({jars} jars)", total=size_bytes)
        yield lambda arrived: progress.advance(task, arrived)


def _print_ready(state: "StackState", data_dir: Path, as_json: bool) -> None:
    pids = {found.role: found.pid for found in state.processes}
    if as_json:
        print_json({"ready": True, "ports": state.ports, "data_dir": str(data_dir), "pid": state.pid, "pids": pids})
    else:
        ports = state.ports
        print_line(f"Ready. Kafka: 127.0.0.1:{ports['kafka']}  ClickHouse: http://127.0.0.1:{ports['clickhouse']}")
        print_line(f"Console: http://127.0.0.1:{ports['console']}  (log in with `tollgate console login`)")
        print_line(f"Data and logs: {data_dir}")
    # Who reads this through a pipe waits for it, and the stack may run for months.
    sys.stdout.flush()


def _print_status(processes: list[dict[str, Any]], lag: dict[str, dict[str, int]], ports: dict[str, int]) -> None:
    rows = [
        (found["role"], found["pid"] or "-", found["state"], found["restarts"], ports.get(found["role"], "-"))
        for found in processes
    ]
    print_table(("role", "pid", "state", "restarts", "port"), rows, right=(1, 3, 4))
    print_line()
    behind = [(group, topic, records) for group, topics in lag.items() for topic, records in topics.items()]
    print_table(("group", "topic", "records behind"), behind, right=(2,))
