"""The number of events visible over time, and the steady rate that follows from it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer
from tests.bench.kafka import partitions_of

# Start-up and the last, smaller batches are not what a worker does all day.
STEADY_FROM = 0.10
STEADY_TO = 0.95
LOOK_SECONDS = 0.1


@dataclass
class Curve:
    """Samples of (seconds, count); the count never falls."""

    samples: list[tuple[float, int]] = field(default_factory=list)

    def add(self, count: int) -> None:
        """One look at the count, now."""
        self.samples.append((time.perf_counter(), count))

    def reached(self, count: float) -> float:
        """When the count was reached, interpolated between two looks."""
        before = self.samples[0]
        for sample in self.samples:
            if sample[1] >= count:
                if sample[1] == before[1]:
                    return sample[0]
                share = (count - before[1]) / (sample[1] - before[1])
                return before[0] + share * (sample[0] - before[0])
            before = sample
        raise ValueError(f"the count never reached {count}")

    def steady_rate(self, records: int, offsets: int) -> float:
        """Records per second from a tenth of them, or the first look if that was later, to the last twentieth.

        `offsets` is what the curve shows when all `records` are there: a transaction's markers count as well.
        """
        start, end = max(STEADY_FROM * offsets, self.samples[0][1]), STEADY_TO * offsets
        if start >= end:
            raise RuntimeError(f"{start:,.0f} of {offsets} were there before the first look: nothing to measure")
        return (end - start) / offsets * records / (self.reached(end) - self.reached(start))


async def watch(
    look: Callable[[], Awaitable[int]], total: int, deadline_seconds: float, alive: Callable[[], None], settle: bool
) -> Curve:
    """Look until `total` is reached; with `settle`, on until nothing has changed for a second.

    `alive` raises when what is measured has ended. Raises TimeoutError after the deadline.
    """
    curve = Curve()
    deadline = time.monotonic() + deadline_seconds
    while time.monotonic() < deadline:
        curve.add(await look())
        now, count = curve.samples[-1]
        if count >= total and (not settle or now - curve.reached(count) > 1.0):
            return curve
        alive()
        await asyncio.sleep(LOOK_SECONDS)
    raise TimeoutError(f"{curve.samples[-1][1]} of {total} after {deadline_seconds:.0f} s")


class TopicEnds:
    """The sum of a topic's last stable offsets: its committed records, and the markers of its transactions."""

    def __init__(self, servers: str, topic: str) -> None:
        self._topic = topic
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=servers, isolation_level="read_committed", enable_auto_commit=False
        )

    async def __aenter__(self) -> "TopicEnds":
        await self._consumer.start()
        self._partitions = await partitions_of(self._consumer, self._topic)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def look(self) -> int:
        """The sum now."""
        return sum((await self._consumer.end_offsets(self._partitions)).values())
