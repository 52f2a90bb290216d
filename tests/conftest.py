"""Real parts for the tests: an embedded Kafka broker and ClickHouse server, and settings that share nothing.

`TOLLGATE_TEST_KAFKA=host:port` uses a broker that already runs instead of starting one.
"""

import asyncio
import os
import random
import runpy
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tollgate.embedded.children import start_child, stop_child, wait_for
from tollgate.embedded.kafka import is_ready
from tollgate.embedded.ports import HOST, accepts_connections, free_ports
from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics, delete_topics

START_SECONDS_MAX = 90
ROOT = Path(__file__).resolve().parents[1]


def pytest_sessionstart() -> None:
    """Bring the compiled core up to date with its sources, where there is a compiler: both cores are tested."""
    fault = runpy.run_path(str(ROOT / "native" / "build.py"))["build"]()
    if fault is not None and shutil.which("cargo"):
        raise pytest.UsageError(f"no compiled core: {fault}")


@pytest.fixture
def rnd() -> random.Random:
    """Random numbers of a seed that a failing test shows."""
    seed = random.randrange(2**32)
    print("seed", seed)
    return random.Random(seed)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap servers of a broker that lives as long as the session."""
    running = os.environ.get("TOLLGATE_TEST_KAFKA")
    if running:
        yield running
        return
    directory = tmp_path_factory.mktemp("kafka")
    port, controller_port = free_ports(2)
    log = directory / "broker.log"
    with log.open("wb") as output:
        argv = [sys.executable, "-m", "tollgate.embedded", "kafka", "--data-dir", str(directory / "data")]
        process = start_child([*argv, "--port", str(port), "--controller-port", str(controller_port)], output)
    address = f"{HOST}:{port}"
    try:
        ready = wait_for(
            process, lambda: accepts_connections(port) and asyncio.run(is_ready(address)), START_SECONDS_MAX
        )
        assert ready, log.read_text(errors="replace")
        yield address
    finally:
        stop_child(process)


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an embedded ClickHouse server that lives as long as the session."""
    directory = tmp_path_factory.mktemp("clickhouse")
    (port,) = free_ports(1)
    log = directory / "server.log"
    with log.open("wb") as output:
        argv = [sys.executable, "-m", "tollgate.embedded", "clickhouse", "--data-dir", str(directory / "data")]
        process = start_child([*argv, "--port", str(port)], output)
    try:
        assert wait_for(process, lambda: accepts_connections(port), START_SECONDS_MAX), log.read_text(errors="replace")
        yield f"http://{HOST}:{port}"
    finally:
        stop_child(process)


@pytest.fixture
def settings(kafka: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Settings with a topic prefix, an application and a database of their own; the topics exist.

    `clickhouse_url` is that of the fixture `clickhouse` when the test asks for that as well.
    """
    unique = uuid.uuid4().hex[:10]
    own: dict[str, object] = {}
    if "clickhouse" in request.fixturenames:
        own["clickhouse_url"] = request.getfixturevalue("clickhouse")
    made = Settings.model_validate(
        {
            "kafka_bootstrap_servers": kafka,
            "topic_prefix": f"t{unique}.",
            "application": f"t{unique}",
            "clickhouse_database": f"t{unique}",
            "data_dir": tmp_path / "data",
            **own,
        }
    )
    asyncio.run(apply_topics(made))
    yield made
    asyncio.run(delete_topics(made))
