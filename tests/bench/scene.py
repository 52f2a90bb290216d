"""Where one benchmark takes place: the broker, the directory of logs, the sizes asked for, and the results so far."""

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tollgate.schemas.topics import USAGE_PARTITIONS


@dataclass(frozen=True)
class Layout:
    """How many partitions the usage topic has, and how many workers share them."""

    partitions: int = USAGE_PARTITIONS
    workers: int = 1

    def __str__(self) -> str:
        workers = "one worker" if self.workers == 1 else f"{self.workers} workers"
        return f"{self.partitions} partitions, {workers}"


@dataclass(frozen=True)
class Sizes:
    """How much is done. Peers get fewer events, because they are slower and only their rate is wanted."""

    seed: int
    runs: int = 5
    events: int = 400_000
    users: int = 10_000
    quix_events: int = 120_000
    faust_events: int = 15_000
    layout: Layout = Layout()
    latency_rates: tuple[int, ...] = (1_000, 5_000, 20_000)
    many_partitions_rates: tuple[int, ...] = (1_000, 5_000)
    latency_seconds: int = 20


@dataclass(frozen=True)
class Result:
    """One figure: ours, and a peer's beside it when there is one. `detail` is printed and kept, not compared."""

    figure: str
    ours: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's."""
        return round(self.ours / self.peer_value, 2) if self.peer_value else None

    def line(self) -> str:
        """The figure as one line of JSON."""
        row = {
            "figure": self.figure,
            "ours": round(self.ours, 1),
            "peer": self.peer,
            "peer_value": round(self.peer_value, 1) if self.peer_value is not None else None,
            "ratio": self.ratio,
            "unit": self.unit,
        }
        return json.dumps(row | self.detail)


@dataclass
class Scene:
    """What every figure needs."""

    servers: str
    broker_pid: int
    directory: Path
    sizes: Sizes

    def environment(self, prefix: str, partitions: int | None = None) -> dict[str, str]:
        """The settings of one installation of Tollgate, apart from all others on this broker.

        Without `partitions` its usage topic has as many as the sizes say.
        """
        return {
            "TOLLGATE_KAFKA_BOOTSTRAP_SERVERS": self.servers,
            "TOLLGATE_TOPIC_PREFIX": prefix,
            "TOLLGATE_APPLICATION": prefix.rstrip("."),
            "TOLLGATE_DATA_DIR": str(self.directory / prefix.rstrip(".")),
            "TOLLGATE_LOG_LEVEL": "warning",
            "TOLLGATE_USAGE_PARTITIONS": str(partitions or self.sizes.layout.partitions),
        }


def machine_ms() -> float:
    """Milliseconds that a fixed piece of Python takes now. On a machine that others use, figures move with it."""
    started = time.perf_counter()
    total = 0
    for number in range(2_000_000):
        total += number & 7
    return (time.perf_counter() - started) * 1000


def spread(values: Sequence[float]) -> dict[str, float]:
    """Smallest, middle and largest of several runs."""
    return {"min": round(min(values), 1), "median": round(statistics.median(values), 1), "max": round(max(values), 1)}
