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
    """How many partitions the usage topic has, how many workers share them, and how much of a processor each may take
    (0: as much as there is)."""

    partitions: int = USAGE_PARTITIONS
    workers: int = 1
    processors: float = 0

    def __str__(self) -> str:
        workers = "one worker" if self.workers == 1 else f"{self.workers} workers"
        return f"{self.partitions} partitions, {workers}"


@dataclass(frozen=True)
class Sizes:
    """How much is done."""

    seed: int
    runs: int = 5
    events: int = 400_000
    users: int = 10_000
    layout: Layout = Layout()
    latency_rates: tuple[int, ...] = (1_000, 5_000, 20_000)
    many_partitions_rates: tuple[int, ...] = (1_000, 5_000)
    latency_seconds: int = 20


@dataclass(frozen=True)
class Result:
    """One figure: ours, and a peer's beside it when there is one. `detail` is printed and kept, not compared.

    `ratios` are those of the interleaved runs, ours divided by the peer's: their median counts, because what slows one
    pair down slows both of it.
    """

    figure: str
    ours: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    ratios: tuple[float, ...] = ()

    @classmethod
    def paired(
        cls, figure: str, unit: str, ours: Sequence[float], peer: str, theirs: Sequence[float | None], **detail: Any
    ) -> "Result":
        """Medians of interleaved runs; a peer's run without a result is None and is left out with the pair's ratio.

        Raises StatisticsError when there is no pair at all.
        """
        pairs = [(own, other) for own, other in zip(ours, theirs, strict=True) if other]
        found = [other for _, other in pairs]
        detail = {"spread": spread(ours), "peer_spread": spread(found), **detail}
        ratios = tuple(own / other for own, other in pairs)
        return cls(figure, statistics.median(ours), unit, peer, statistics.median(found), detail, ratios)

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Result":
        """The figure of a line of JSON, which keeps the ratio only as a single one."""
        own = {name: row.pop(name) for name in ("figure", "ours", "unit", "peer", "peer_value")}
        ratio = row.pop("ratio")
        return cls(**own, detail=row, ratios=(ratio,) if ratio else ())

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's: the median of the runs."""
        if self.ratios:
            return round(statistics.median(self.ratios), 2)
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
        if len(self.ratios) > 1:
            row["ratios"] = spread(self.ratios, digits=2)
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


def spread(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """Smallest, middle and largest of several runs."""
    found = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(value, digits) for name, value in found.items()}
