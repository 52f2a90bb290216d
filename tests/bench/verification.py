"""`python -m tests.bench.verification [--steps N …]`: how fast `tollgate verify` is, and what memory it takes.

A worker counts a log that grows to each of the steps, and after each one the command verifies all of it. One line of
JSON per step goes to stdout: events, events per second of the whole command, the largest memory of all its processes
together in MB (of what they share, each a part), and the largest size of its temporary directory.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
from tests.bench import processes
from tests.bench.curve import TopicEnds, watch
from tests.bench.kafka import broker, create_topics, load
from tests.bench.scene import Result, Scene, Sizes
from tests.bench.throughput import say
from tests.bench.workload import Workload

PREFIX = "verification."


def directory_bytes(directory: Path) -> int:
    """The size of all files now; one that goes meanwhile counts nothing."""
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


def family_bytes(pid: int) -> int:
    """Memory of the process and its children now, shared pages dealt out among them; one that ends meanwhile is 0."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += member.memory_full_info().pss
    return total


def verify(scene: Scene) -> Result:
    """Run the command on everything there is; its figures. Raises when it finds a difference."""
    space = scene.directory / "space"
    space.mkdir(exist_ok=True)
    command = [str(Path(sys.executable).parent / "tollgate"), "verify", "--json", "--no-clickhouse"]
    environment = os.environ | scene.environment(PREFIX) | {"TMPDIR": str(space)}
    said = scene.directory / "verify.json"
    spilled = memory = 0
    ended = threading.Event()

    def look() -> None:
        nonlocal spilled, memory
        while not ended.wait(0.5):
            spilled = max(spilled, directory_bytes(space))
            memory = max(memory, family_bytes(process.pid))

    watcher = threading.Thread(target=look)
    started = time.perf_counter()
    with said.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, env=environment)
    watcher.start()
    try:
        _, status, used = os.wait4(process.pid, 0)
    finally:
        ended.set()
        watcher.join()
    seconds = time.perf_counter() - started
    if status:
        raise RuntimeError(f"verify ended with {status}: {said.read_text()[:2000]}")
    report = json.loads(said.read_text())
    detail = {
        "events": report["events"],
        "seconds": round(seconds, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "memory_mb_max": memory >> 20,
        "processors": len(os.sched_getaffinity(0)),
        "temporary_mb_max": spilled >> 20,
    }
    return Result("verify, the whole command", report["events"] / seconds, "events/s", detail=detail)


async def measure(scene: Scene, steps: list[int]) -> None:
    """Grow the log step by step."""
    await create_topics(scene.servers, PREFIX)
    async with TopicEnds(scene.servers, f"{PREFIX}priced") as ends:
        await _measure(scene, steps, ends)


async def _measure(scene: Scene, steps: list[int], ends: TopicEnds) -> None:
    there = 0
    for number, step in enumerate(steps):
        workload = Workload(scene.sizes.seed + number, step - there, scene.sizes.users)
        count, seconds = await load(scene.servers, f"{PREFIX}usage", workload.records())
        say(f"  {count} records loaded in {seconds:.1f} s")
        there = step
        # Only while it is needed: on a busy machine one that is starved of processor time ends itself.
        with processes.tollgate("worker", ["worker"], scene.directory, scene.environment(PREFIX)) as worker:
            await watch(ends.look, step, 1_800, worker.alive, settle=True)
            print((await asyncio.to_thread(verify, scene)).line(), flush=True)


def main() -> None:
    """Start a broker, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.verification", description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[250_000, 1_000_000], help="sizes of the log")
    parser.add_argument("--users", type=int, default=Sizes.users)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    given = parser.parse_args()
    say(f"seed {given.seed}; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors before the start")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    directory = Path(tempfile.mkdtemp(prefix="tollgate-bench-"))
    try:
        with broker(directory) as (servers, pid):
            sizes = replace(Sizes(given.seed), users=given.users)
            asyncio.run(measure(Scene(servers, pid, directory, sizes), given.steps))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
