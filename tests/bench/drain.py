"""A backlog worked off by one or several workers: how fast, with how much processor time and memory."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psutil
from tests.bench.curve import TopicEnds, watch
from tests.bench.scene import Layout, Scene
from tests.bench.workers import Workers, started

DRAIN_SECONDS = 400
SAMPLE_SECONDS = 1.0


@dataclass(frozen=True)
class Drained:
    """`rate` is in events/s over the steady part. Processor seconds, of all workers together, are those of `seconds`,
    in which `events` became visible.

    Memory is resident MB, all workers together, once a second.
    """

    rate: float
    events: float
    seconds: float
    worker_cpu: float
    broker_cpu: float
    memory_mb: list[float]

    @property
    def worker_us(self) -> float:
        """Processor microseconds of the workers per event: hardly moves when others use the machine."""
        return self.worker_cpu / self.events * 1e6

    @property
    def broker_us(self) -> float:
        """The same of the broker."""
        return self.broker_cpu / self.events * 1e6

    def __str__(self) -> str:
        return (
            f"{self.rate:,.0f} events/s steady; processor time: workers {self.worker_us:.1f}, broker "
            f"{self.broker_us:.1f} µs per event; at most {max(self.memory_mb):,.0f} MB"
        )


@dataclass(frozen=True)
class Sample:
    """What was used by then: processor seconds since each start, resident memory of all workers."""

    at: float
    count: int
    worker_cpu: float
    broker_cpu: float
    memory_mb: float


class Watcher:
    """Looks at outputs, and samples processor time and memory meanwhile."""

    def __init__(self, scene: Scene, ends: TopicEnds, workers: Workers) -> None:
        self._broker, self._ends, self._workers = scene.broker_pid, ends, workers
        self.samples: list[Sample] = []
        self._next = 0.0

    async def look(self) -> int:
        """The count now."""
        count = await self._ends.look()
        now = time.perf_counter()
        if count and now >= self._next:
            self._next = now + SAMPLE_SECONDS
            memory_mb = sum(rss_mb(program.pid) for program in self._workers.programs)
            self.samples.append(Sample(now, count, self._workers.cpu_seconds(), cpu_seconds(self._broker), memory_mb))
        return count


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


async def drain(
    scene: Scene, prefix: str, events: int, layout: Layout, check: Callable[[], Awaitable[None]]
) -> Drained:
    """Start the workers on the backlog under the prefix and wait until all is visible.

    What they do before they have shared the partitions is not measured. `check` is called while they run, because
    shared scopes are counted after the events are priced; it raises when something is wrong.
    """
    async with TopicEnds(scene.servers, f"{prefix}priced") as ends:
        with started(scene, prefix, layout) as workers:
            await workers.settled()
            watcher = Watcher(scene, ends, workers)
            curve = await watch(watcher.look, events, DRAIN_SECONDS, workers.alive, settle=True)
            await check()
    offsets = curve.samples[-1][1]
    ended = curve.reached(offsets)
    samples = [sample for sample in watcher.samples if sample.at < ended]
    first, last = samples[0], samples[-1]
    return Drained(
        curve.steady_rate(events, offsets),
        (last.count - first.count) / offsets * events,
        last.at - first.at,
        last.worker_cpu - first.worker_cpu,
        last.broker_cpu - first.broker_cpu,
        [sample.memory_mb for sample in samples],
    )
