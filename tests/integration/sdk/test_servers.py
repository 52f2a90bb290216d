"""Services as they are run: servers that fork, workers of Celery, a running loop. All end clean and in time."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.waiting import eventually, wait_until

from tollgate.embedded.ports import accepts_connections, free_ports
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

# What a process says that lost something on its way out.
BAD = re.compile(r"Traceback|ResourceWarning|Exception ignored|was destroyed|never retrieved|Unclosed|tollgate.sdk")
# The servers themselves leave the socket that they listen at to the end of the process.
THEIRS = re.compile(
    r"Exception ignored in: <socket\.socket [^\n]*\nResourceWarning: unclosed <socket\.socket (?![^\n]*raddr)[^\n]*\n"
)
# For the end of a server with its workers; alone on a machine they take one.
END_SECONDS_MAX = 15.0
EVENTS = 60


@pytest.fixture
def environment(settings: Settings, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "TOLLGATE_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "TOLLGATE_SPOOL_DIR": str(tmp_path / "spool"),
        "TEST_TOPIC_PREFIX": settings.topic_prefix,
        "TEST_CELERY_BROKER": "filesystem://",
        "TEST_CELERY_FOLDER": str(tmp_path / "celery"),
        "PYTHONUNBUFFERED": "1",
    }


class Server:
    """A process, and what it says."""

    def __init__(self, argv: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *argv],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Ask it to end; how many seconds it took. It must have said nothing bad."""
        begun = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(END_SECONDS_MAX)
        took_seconds = time.monotonic() - begun
        assert status in (0, -number), self.said
        assert not BAD.search(THEIRS.sub("", self.said)), self.said
        return took_seconds


@contextlib.contextmanager
def server(argv: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[Server]:
    started = Server(argv, environment, log)
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.process.pid, signal.SIGKILL)
        started.process.wait()


async def ids(settings: Settings) -> list[str]:
    """The ids of all events in the topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.topic(Topic.USAGE), number) for number in range(8)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[str] = []
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [record.value.split(b'"id":"', 1)[1].split(b'"', 1)[0].decode() for record in records]
        return found
    finally:
        await consumer.stop()


def run(environment: dict[str, str], program: str, *arguments: str) -> str:
    """What a program says that ends well and without a warning."""
    argv = [sys.executable, "-W", "error", "-c", program, *arguments]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def empty_the_spool(environment: dict[str, str], directory: Path) -> None:
    """As the next process of the service does, which finds what others left."""
    serve = "from tests.support.recording_apps import toll; import sys; assert toll.flush(20); sys.stdin.read()"
    argv = [sys.executable, "-W", "error", "-c", serve]
    with subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE) as service:
        try:
            # The one that is left is the service's own.
            wait_until(lambda: len(list((directory / "spool").rglob("*.seg"))) <= 1)
        finally:
            service.communicate()
    assert service.returncode == 0
    assert not list((directory / "spool").rglob("*.seg"))


async def stored_all(settings: Settings, wanted: set[str]) -> None:
    """The topic has these and what was recorded at imports, and nothing else."""

    async def are_there() -> bool:
        return wanted <= set(await ids(settings))

    await eventually(are_there, 20, "every event in Kafka")
    found = await ids(settings)
    assert all(event_id.startswith("import-") for event_id in set(found) - wanted)


def ask(port: int, event_id: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{event_id}", timeout=20) as answer:
        body: bytes = answer.read()
        return body.decode()


def ask_all(port: int, name: str) -> tuple[set[str], set[str]]:
    """The ids of the events that were asked for, and the processes that recorded them."""
    wanted = {f"{name}-{number}" for number in range(EVENTS)}
    return wanted, {ask(port, event_id) for event_id in sorted(wanted)}


@pytest.mark.parametrize("way", ["before", "after"])
async def test_gunicorn_whose_workers_are_forked_from_a_client_that_has_recorded(
    settings: Settings, environment: dict[str, str], tmp_path: Path, way: str
) -> None:
    (port,) = free_ports(1)
    argv = ["-W", "error::ResourceWarning", "-m", "gunicorn", "--workers", "3", "--bind", f"127.0.0.1:{port}"]
    argv += ["--worker-tmp-dir", str(tmp_path), "--no-control-socket", "tests.support.recording_apps:wsgi"]
    with server([*argv, *(["--preload"] if way == "before" else [])], environment, tmp_path / "log") as gunicorn:
        wait_until(lambda: accepts_connections(port) or gunicorn.process.poll() is not None, 30)
        assert gunicorn.process.poll() is None, gunicorn.said
        wanted, processes = ask_all(port, "g")
        assert processes
        print(f"gunicorn ended in {gunicorn.end():.2f} s")
    await stored_all(settings, wanted)
    assert not list((tmp_path / "spool").rglob("*.seg"))


async def test_uvicorn_with_four_workers(settings: Settings, environment: dict[str, str], tmp_path: Path) -> None:
    (port,) = free_ports(1)
    argv = ["-W", "error", "-m", "uvicorn", "--workers", "4", "--port", str(port), "tests.support.recording_apps:asgi"]
    with server(argv, environment, tmp_path / "log") as uvicorn:
        wait_until(lambda: uvicorn.said.count("Application startup complete") == 4, 60)
        wanted, processes = ask_all(port, "u")
        assert processes
        print(f"uvicorn ended in {uvicorn.end():.2f} s")
    # uvicorn ends its workers by a signal: what a client that was not closed had not sent is in the spool.
    empty_the_spool(environment, tmp_path)
    await stored_all(settings, wanted)


async def test_celery_with_a_pool_of_processes(settings: Settings, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "celery").mkdir()
    wanted = {f"c-{number}" for number in range(EVENTS)}
    send = "import sys; from tests.support.recording_apps import work, toll; [work.delay(i) for i in sys.argv[1:]]"
    run(environment, send, *sorted(wanted))
    argv = ["-W", "error::ResourceWarning", "-m", "celery", "-A", "tests.support.recording_apps:celery", "worker"]
    argv += ["--concurrency", "3", "--max-tasks-per-child", "10", "--loglevel", "INFO", "--without-mingle"]
    with server([*argv, "--without-gossip", "--without-heartbeat"], environment, tmp_path / "log") as celery:
        wait_until(lambda: celery.said.count("succeeded in") == EVENTS or celery.process.poll() is not None, 60)
        assert celery.process.poll() is None, celery.said
        print(f"celery ended in {celery.end():.2f} s")
    # A process of the pool ends without any handler; what it had not sent is in the spool for the next.
    empty_the_spool(environment, tmp_path)
    await stored_all(settings, wanted)


NOTEBOOK = """
import asyncio, os, sys, threading, time
from tollgate.sdk import AsyncTollgate, Tollgate
prefix = os.environ["TEST_TOPIC_PREFIX"]
call = dict(user="u1", provider="openai", model="gpt-4o", usage={"input_tokens": 1})
async def cell():
    # As in a notebook: there is a loop already, and both kinds of client are used in it.
    before = asyncio.all_tasks()
    toll, awaiting = Tollgate(source="n", topic_prefix=prefix), AsyncTollgate(source="n", topic_prefix=prefix)
    toll.record(**call, id="n-1")
    awaiting.record(**call, id="n-2")
    assert toll.check(user="u1", model="gpt-4o").allowed
    assert await awaiting.flush(20) and toll.flush(20)
    while awaiting.check(user="u1").knowledge_age_ms is None:
        await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before
    return toll, awaiting
first = asyncio.run(cell())
begun = time.monotonic()
first[0].close()
asyncio.run(first[1].close())
took = time.monotonic() - begun
assert [t.name for t in threading.enumerate()] == ["MainThread"], threading.enumerate()
# Left open on purpose: the end of the interpreter closes it.
left = asyncio.run(cell())
print(f"closed in {took:.2f} s")
"""


async def test_a_notebook_with_a_running_loop(settings: Settings, environment: dict[str, str], tmp_path: Path) -> None:
    print(run(environment, NOTEBOOK))
    assert {"n-1", "n-2"} == set(await ids(settings))
