"""`tollgate up`, `status`, `doctor` and `down` with everything real: what a user of one machine does."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from tests.waiting import wait_until

from tollgate.embedded.stack_state import StackState, read_state, running_state

pytestmark = [pytest.mark.integration, pytest.mark.e2e]

# Sends one event in a transaction and ends without a word.
DYING_SERVICE = """
import asyncio, os, sys
from aiokafka import AIOKafkaProducer
async def main():
    producer = AIOKafkaProducer(
        bootstrap_servers=sys.argv[1], transactional_id="orders", transaction_timeout_ms=20_000
    )
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait("tollgate.usage", b"{}", b"u1", partition=3)
    os._exit(9)
asyncio.run(main())
"""

GROWTH = """
import asyncio, sys
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
async def main():
    admin = AIOKafkaAdminClient(bootstrap_servers=sys.argv[1])
    await admin.start()
    await admin.create_partitions({"tollgate.usage": NewPartitions(12)})
    await admin.close()
asyncio.run(main())
"""

# What means something to Java, to Kafka's configuration, to ClickHouse, to a shell, or to a terminal.
NAME = "dä tü'q\" $HOME %s %41,a:b #c !d =e \\x 日本 🎉 ;&|<>*?[z]"

ROLES = ["kafka", "clickhouse", "worker-0", "sink-clickhouse", "sink-alerts", "console"]


def tollgate(*arguments: str, status: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run the command without the developer's own settings; it must end with this status."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")}
    # Where nothing says in which encoding names are.
    environment["LC_ALL"] = "C"
    argv = [sys.executable, "-m", "tollgate.cli.main", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=180, env=environment, check=False)
    assert done.returncode == status, (done.stdout, done.stderr)
    return done


def state_of(data_dir: Path) -> StackState:
    """The stack's state, which must be there."""
    state = read_state(data_dir)
    assert state is not None
    return state


def status_of(data_dir: Path) -> dict[str, Any]:
    """What `tollgate status --json` says."""
    found: dict[str, Any] = json.loads(tollgate("status", "--data-dir", str(data_dir), "--json").stdout)
    return found


def any_behind(topics: dict[str, int]) -> bool:
    """Whether a group has something left to read."""
    return any(topics.values())


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a stack that is up; the tests leave it up."""
    directory = tmp_path_factory.mktemp("stack") / NAME
    ready = json.loads(tollgate("up", "--data-dir", str(directory), "--detach", "--json").stdout)
    assert ready["ready"] is True
    assert list(ready["pids"]) == ROLES
    assert ready["data_dir"] == str(directory)
    yield directory
    state = running_state(directory)
    tollgate("down", "--data-dir", str(directory))
    if state is not None:
        assert not any(role.process is not None and role.process.is_alive() for role in state.processes)


def test_status_shows_every_role_its_port_and_no_lag(data_dir: Path) -> None:
    found = status_of(data_dir)
    assert [role["role"] for role in found["processes"]] == ROLES
    assert {role["state"] for role in found["processes"]} == {"running"}
    assert {"kafka", "clickhouse", "worker-0"} <= set(found["ports"])
    # On a busy machine the sink still reads the first alerts and prices.
    wait_until(lambda: not any(map(any_behind, status_of(data_dir)["lag"].values())), seconds=60, what="no lag")
    assert sorted(found["lag"]) == ["tollgate", "tollgate-sink-alerts", "tollgate-sink-clickhouse"]


def test_everything_is_kept_in_the_directory_whatever_its_name(data_dir: Path) -> None:
    assert list(data_dir.parent.iterdir()) == [data_dir]
    assert (data_dir / "clickhouse" / "data" / "store").is_dir()
    assert (data_dir / "kafka" / "log" / "tollgate.usage-7").is_dir()


def test_doctor_finds_nothing_wrong(data_dir: Path) -> None:
    found = json.loads(tollgate("doctor", "--data-dir", str(data_dir), "--json").stdout)
    assert found["ok"] is True
    names = [check["name"] for check in found["checks"]]
    assert names == [
        *("python", "core", "disk", "java", "jars", "stack", "ports", "kafka", "topics"),
        *("brokers", "lag", "waiting", "clickhouse", "slack"),
    ]


@pytest.mark.long
def test_status_and_doctor_name_the_transaction_that_a_dead_service_left_open(data_dir: Path) -> None:
    address = f"127.0.0.1:{state_of(data_dir).ports['kafka']}"
    service = subprocess.run(
        [sys.executable, "-c", DYING_SERVICE, address], capture_output=True, text=True, check=False
    )
    assert service.returncode == 9, service.stderr
    (waiting,) = status_of(data_dir)["open_transactions"]
    assert (waiting["topic"], waiting["partition"], waiting["records"]) == ("tollgate.usage", 3, 1)
    assert (waiting["transactional_id"], waiting["timeout_seconds"]) == ("orders", 20)
    found = json.loads(tollgate("doctor", "--data-dir", str(data_dir), "--json", status=1).stdout)
    (failed,) = [check for check in found["checks"] if not check["ok"]]
    assert failed["name"] == "waiting"
    assert "tollgate.usage partition 3" in failed["detail"]
    assert "transaction 'orders'" in failed["detail"]
    assert "kafka-transactions.sh" in failed["fix"]
    wait_until(lambda: not status_of(data_dir)["open_transactions"], seconds=60, what="the end of the transaction")
    tollgate("doctor", "--data-dir", str(data_dir))


@pytest.mark.long
def test_status_and_doctor_say_what_more_partitions_of_usage_mean(data_dir: Path) -> None:
    address = f"127.0.0.1:{state_of(data_dir).ports['kafka']}"
    subprocess.run([sys.executable, "-c", GROWTH, address], check=True)
    (told,) = status_of(data_dir)["topics"]
    assert (told["topic"], told["action"]) == ("tollgate.usage", "grown")
    assert "has 12 partitions, of which the first 8 are counted" in told["detail"]
    found = json.loads(tollgate("doctor", "--data-dir", str(data_dir), "--json").stdout)
    (topics,) = [check for check in found["checks"] if check["name"] == "topics"]
    assert "has 12 partitions" in topics["detail"]
    assert topics["fix"].startswith("nothing must be done")
    shown = tollgate("status", "--data-dir", str(data_dir)).stdout
    assert "tollgate.usage has 12 partitions" in shown
    assert "mismatch" not in tollgate("topics", "apply", "--data-dir", str(data_dir)).stdout


def test_a_second_stack_in_the_directory_is_refused(data_dir: Path) -> None:
    done = tollgate("up", "--data-dir", str(data_dir), status=1)
    assert "tollgate down" in done.stderr
    assert running_state(data_dir) is not None


@pytest.mark.parametrize(
    "role", [role if role in ("kafka", "worker-0") else pytest.param(role, marks=pytest.mark.long) for role in ROLES]
)
def test_a_role_that_is_killed_comes_back_and_the_restart_is_shown(data_dir: Path, role: str) -> None:
    killed = next(found for found in state_of(data_dir).processes if found.role == role)
    assert killed.process is not None
    killed.process.signal(signal.SIGKILL)

    def is_back() -> bool:
        now = next(found for found in state_of(data_dir).processes if found.role == role)
        return now.state == "running" and now.pid != killed.pid

    wait_until(is_back, seconds=60, what=f"{role}'s return")
    shown = next(found for found in status_of(data_dir)["processes"] if found["role"] == role)
    assert shown["restarts"] == killed.restarts + 1


def test_a_killed_stack_leaves_no_process_and_starts_again_on_the_same_ports(data_dir: Path) -> None:
    before = state_of(data_dir)
    before.supervisor.signal(signal.SIGKILL)
    wait_until(lambda: not any(role.process is not None and role.process.is_alive() for role in before.processes))
    assert "no stack runs" in tollgate("status", "--data-dir", str(data_dir), status=1).stderr
    ready = json.loads(tollgate("up", "--data-dir", str(data_dir), "--detach", "--json").stdout)
    assert ready["ports"] == before.ports


def test_down_stops_everything_keeps_the_data_and_may_be_said_twice(data_dir: Path) -> None:
    port = state_of(data_dir).ports["clickhouse"]
    password = state_of(data_dir).clickhouse_password
    assert len(password) == 32
    sql = f"http://127.0.0.1:{port}/?database=tollgate&password={password}"
    with urlopen(sql, data=b"CREATE TABLE kept ENGINE = MergeTree ORDER BY a AS SELECT 7 AS a") as answer:
        assert answer.status == 200
    before = state_of(data_dir)
    assert json.loads(tollgate("down", "--data-dir", str(data_dir), "--json").stdout)["stopped"] is True
    assert not before.is_alive()
    assert not any(role.process is not None and role.process.is_alive() for role in before.processes)
    assert json.loads(tollgate("down", "--data-dir", str(data_dir), "--json").stdout)["stopped"] is False
    tollgate("up", "--data-dir", str(data_dir), "--detach")
    with urlopen(sql, data=b"SELECT a FROM kept") as answer:
        # The password is the same after a restart.
        assert answer.read() == b"7\n"
    asked = ("clickhouse", "query", "SELECT a FROM kept FORMAT CSV", "--data-dir", str(data_dir))
    assert tollgate(*asked).stdout == "7\n"


def test_doctor_without_services_says_how_to_get_them(tmp_path: Path) -> None:
    environment = {"TOLLGATE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "TOLLGATE_CLICKHOUSE_URL": "http://127.0.0.1:1"}
    argv = [sys.executable, "-m", "tollgate.cli.main", "doctor", "--data-dir", str(tmp_path), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=os.environ | environment, check=False)
    assert done.returncode == 1
    failed = {check["name"]: check["fix"] for check in json.loads(done.stdout)["checks"] if not check["ok"]}
    assert sorted(failed) == ["clickhouse", "kafka"]
    assert all("tollgate up" in fix for fix in failed.values())


def test_a_port_in_use_is_a_usage_error(data_dir: Path, tmp_path: Path) -> None:
    port = str(state_of(data_dir).ports["kafka"])
    done = tollgate("up", "--data-dir", str(tmp_path), "--kafka-port", port, status=2)
    assert f"Port {port} for kafka is in use" in done.stderr
