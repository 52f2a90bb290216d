"""The memory of identities as it grows to fifty million: bytes, restoring, membership. `--plot FILE` draws the growth.

Eight memories, as of a worker with eight partitions, are filled with what the topic would give back. No Kafka.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from tests.bench.scene import Result

from tollgate.ledger._native import Identities
from tollgate.schemas.topics import DEDUPE_HORIZON_MS

MEMORIES = 8
ROWS = 10_000
SEEN_S = 1_795_000_000
BATCH = 256
POINTS = 25

Point = tuple[float, float]


def measure(identities: int) -> tuple[list[Result], list[Point]]:
    """The figures, and points of (million identities, megabytes of the whole process)."""
    random_bytes = np.random.default_rng(1)
    memories = [Identities(DEDUPE_HORIZON_MS) for _ in range(MEMORIES)]
    rounds = identities // MEMORIES // ROWS
    restoring = longest = 0.0
    points: list[Point] = []
    for number in range(rounds):
        for memory in memories:
            rows = random_bytes.integers(0, 256, (ROWS, 28), dtype=np.uint8)
            rows[:, 24:] = np.frombuffer(np.uint32(SEEN_S).tobytes(), np.uint8)
            packed = rows.tobytes()
            started = time.perf_counter()
            memory.restore(packed, SEEN_S)
            took = time.perf_counter() - started
            restoring, longest = restoring + took, max(longest, took)
        if number % max(1, rounds // POINTS) == 0 or number == rounds - 1:
            points.append(((number + 1) * MEMORIES * ROWS / 1e6, psutil.Process().memory_info().rss / 1e6))
    held = sum(len(memory) for memory in memories)
    unknown = [row.tobytes() for row in random_bytes.integers(0, 256, (200_000, 16), dtype=np.uint8)]
    started = time.perf_counter()
    for number, first in enumerate(range(0, len(unknown), BATCH)):
        memories[number % MEMORIES].known(unknown[first : first + BATCH])
    nanoseconds = (time.perf_counter() - started) / len(unknown) * 1e9
    started = time.perf_counter()
    slowest = 0.0
    for number, digest in enumerate(unknown):
        before = time.perf_counter()
        memories[number % MEMORIES].add(digest, 1, SEEN_S)
        slowest = max(slowest, time.perf_counter() - before)
    adding = (time.perf_counter() - started) / len(unknown) * 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    detail = {"identities": held, "bytes_each": round(sum(m.nbytes for m in memories) / held, 2)}
    results = [
        Result("memory of identities, whole process at its peak", peak, "MB", detail=detail),
        Result(f"membership, batches of {BATCH}", nanoseconds, "ns/identity", detail=detail),
        Result("restoring all of them", restoring, "s", detail={"longest_step_ms": round(longest * 1e3)}),
        Result("remembering one, called from Python", adding, "ns", detail={"slowest_us": round(slowest * 1e6)}),
    ]
    return results, points


def drawn(points: list[Point]) -> str:
    """The growth as an SVG image, with the limit of 2 GB."""
    width, height, left, top = 640, 360, 60, 20
    x_max, y_max = max(x for x, _ in points), 2200

    def at(x: float, y: float) -> str:
        return f"{left + x / x_max * (width - left - 20):.1f},{top + (1 - y / y_max) * (height - top - 50):.1f}"

    lines = [f'<polyline fill="none" stroke="#2563eb" stroke-width="2" points="{" ".join(at(*p) for p in points)}"/>']
    for mb in range(0, y_max, 500):
        y = at(0, mb).split(",")[1]
        colour = "#dc2626" if mb == 2000 else "#d4d4d4"
        lines.append(f'<line x1="{left}" x2="{width - 20}" y1="{y}" y2="{y}" stroke="{colour}"/>')
        lines.append(f'<text x="{left - 6}" y="{y}" text-anchor="end" dominant-baseline="middle">{mb}</text>')
    for million in range(0, int(x_max) + 1, 10):
        x, y = at(million, 0).split(",")
        lines.append(f'<text x="{x}" y="{float(y) + 18}" text-anchor="middle">{million}</text>')
    lines.append(f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">million identities in one worker</text>')
    lines.append(f'<text x="{left}" y="12">MB of resident memory, the whole process</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
    head += ' font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *lines, "</svg>", ""])


def main() -> None:
    """This figure alone."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.identities", description=__doc__)
    parser.add_argument("--identities", type=int, default=50_000_000)
    parser.add_argument("--plot", type=Path, help="draw the growth into this SVG file")
    given = parser.parse_args()
    results, points = measure(given.identities)
    for millions, megabytes in points:
        print(f"  {millions:6.1f} million {megabytes:7,.0f} MB", file=sys.stderr)
    for result in results:
        print(result.line())
    if given.plot is not None:
        given.plot.write_text(drawn(points), encoding="utf-8")


if __name__ == "__main__":
    main()
