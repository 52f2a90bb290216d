"""Kafka brokers and a ClickHouse server as targets of faults, each on its own small disk where one can be mounted."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.victim import Victim

from tollgate.embedded.kafka import is_ready, new_cluster_id
from tollgate.embedded.ports import HOST, accepts_connections, free_ports

# More than a run writes; nothing is taken up before it is used.
DISK_BYTES = 12 << 30
_PAGE = 64 << 10

MOUNTED = "CHAOS_OWN_MOUNTS"


def enter_own_mounts(argv: Sequence[str]) -> None:
    """Run this program again where it may mount disks that nobody else sees and that end with it.

    Returns when that is so already, or cannot be: then no disk can be filled.
    """
    if MOUNTED in os.environ:
        return
    # Who is not root needs a user namespace for it, which some systems forbid.
    unshare = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    try:
        allowed = subprocess.run(
            [*unshare, "mount", "-t", "tmpfs", "none", tempfile.gettempdir()], capture_output=True, check=False
        )
    except FileNotFoundError:
        return
    if allowed.returncode == 0:
        os.environ[MOUNTED] = "1"
        os.execvp(unshare[0], [*unshare, sys.executable, *argv])


def can_mount() -> bool:
    """Whether this program runs with mounts of its own."""
    return MOUNTED in os.environ


class Disk:
    """A file system of its own. Full, it refuses every write that needs a new page, with ENOSPC."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._mount(f"size={DISK_BYTES}")

    def fill(self) -> None:
        """Shrink it to what is used."""
        for _ in range(100):
            found = os.statvfs(self.path)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            # Refused when more was written meanwhile.
            if self._mount(f"remount,size={used + _PAGE}", check=False):
                return
        raise RuntimeError(f"{self.path} cannot be filled")

    def free(self) -> None:
        """Give it all its room again."""
        self._mount(f"remount,size={DISK_BYTES}")

    def _mount(self, options: str, check: bool = True) -> bool:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(self.path)],
            capture_output=True,
            check=check,
        )
        return done.returncode == 0


class Service(Victim):
    """`python -m tollgate.embedded …` in a directory of its own."""

    def __init__(self, name: str, directory: Path, own_disk: bool) -> None:
        super().__init__(name, directory)
        self.disk = Disk(directory / f"{name}-data") if own_disk else None
        self.data_dir = directory / f"{name}-data"
        self.port, self.other_port = free_ports(2)

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{HOST}:{self.port}"


class Broker(Service):
    """One node of a Kafka cluster."""

    node_id = 1
    voters: tuple[str, ...] = ()
    cluster_id = ""

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "tollgate.embedded", "kafka", "--data-dir", str(self.data_dir)),
            *("--port", str(self.port), "--controller-port", str(self.other_port)),
            *("--node-id", str(self.node_id), "--voters", ",".join(self.voters), f"--cluster-id={self.cluster_id}"),
        ]

    async def ready(self) -> bool:
        return self.alive and accepts_connections(self.port, 0.3) and await is_ready(self.address)


class Database(Service):
    """The embedded ClickHouse server."""

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "tollgate.embedded", "clickhouse"),
            *("--data-dir", str(self.data_dir), "--port", str(self.port)),
        ]

    async def ready(self) -> bool:
        return self.alive and accepts_connections(self.port, 0.3)


def cluster(count: int, directory: Path, own_disks: bool) -> list[Broker]:
    """As many nodes of one cluster, none of them started."""
    brokers = [Broker(f"kafka-{number}", directory, own_disks) for number in range(1, count + 1)]
    cluster_id = new_cluster_id()
    for number, broker in enumerate(brokers, 1):
        broker.node_id, broker.cluster_id = number, cluster_id
        broker.voters = tuple(f"{n}@{HOST}:{other.other_port}" for n, other in enumerate(brokers, 1))
    return brokers
