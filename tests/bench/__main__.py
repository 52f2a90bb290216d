"""`python -m tests.bench [FIGURE …]`: the figures as a table and as lines of JSON; `--help` names them.

Progress goes to stderr. Every figure is appended to `bench-results/history.ndjson`.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table
from tests.bench.figures import FIGURES
from tests.bench.kafka import broker
from tests.bench.scene import Layout, Result, Scene, Sizes
from tests.bench.throughput import say

HISTORY = Path(__file__).resolve().parents[2] / "bench-results" / "history.ndjson"
# What a shell says of a program that SIGTERM ended.
STOPPED = 128 + signal.SIGTERM


def arguments() -> argparse.Namespace:
    """What was asked for."""
    names = "\n".join(f"  {name:17} {f.about} ({f.seconds} s a run)" for name, f in FIGURES.items())
    usual = [name for name, figure in FIGURES.items() if figure.usual]
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=f"{__doc__}\nfigures:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"by default {', '.join(usual)}")
    parser.add_argument("--runs", type=int, default=Sizes.runs, help="interleaved runs; the median counts")
    parser.add_argument("--events", type=int, default=Sizes.events, help="events of the backlog")
    parser.add_argument("--users", type=int, default=Sizes.users)
    parser.add_argument("--partitions", type=int, default=Layout.partitions, help="of the usage topic")
    parser.add_argument(
        "--seed", type=int, default=None, help="of the workload; printed, so that a run can be repeated"
    )
    parser.add_argument("--keep", action="store_true", help="keep the directory with the logs")
    given = parser.parse_args()
    if unknown := set(given.figures) - set(FIGURES):
        parser.error(f"no figure is called {', '.join(sorted(unknown))}")
    # The peers' figure has the worker's in it.
    wanted = set(given.figures or usual) - ({"worker"} if "peers" in given.figures else set())
    given.figures = [name for name in FIGURES if name in wanted]
    return given


async def measure(scene: Scene, figures: list[str]) -> None:
    """The figures, one after another: two at once would measure each other. Each is shown as soon as it is there.

    SIGTERM cancels them. An exit raised where the loop happens to be would come up again in each task that is left.
    """
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    for name in figures:
        say(f"{name}: {FIGURES[name].about}")
        show(await FIGURES[name].measure(scene))


def show(results: list[Result]) -> None:
    """The table for people, then the lines for programs, also kept in the history."""
    table = Table("figure", "ours", "unit", "peer", "peer's", "ratio")
    for r in results:
        peer_value = f"{r.peer_value:,.0f}" if r.peer_value is not None else ""
        ratio = str(r.ratio or "")
        if len(r.ratios) > 1:
            ratio += f" ({min(r.ratios):.2f} to {max(r.ratios):.2f})"
        table.add_row(
            r.figure, f"{r.ours:,.0f}" if r.ours >= 100 else f"{r.ours:.1f}", r.unit, r.peer, peer_value, ratio
        )
    Console(width=150).print(table)
    HISTORY.parent.mkdir(exist_ok=True)
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    with HISTORY.open("a", encoding="utf-8") as history:
        for result in results:
            line = result.line()
            print(line)
            history.write(json.dumps(json.loads(line) | {"at": at, "commit": git.stdout.strip()}) + "\n")


def main() -> None:
    """Start a broker, measure, print."""
    given = arguments()
    seed = given.seed if given.seed is not None else random.randrange(2**32)
    sizes = Sizes(seed, given.runs, given.events, given.users, layout=Layout(given.partitions))
    say(f"seed {seed}; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors before the start")
    # A topic that was just made is unknown to some requests for a moment; the client retries, and says so each time.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # Leave through the blocks that end what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
    started = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="tollgate-bench-"))
    try:
        with broker(directory) as (servers, pid):
            uvloop.run(measure(Scene(servers, pid, directory, sizes), given.figures))
    except asyncio.CancelledError:
        sys.exit(STOPPED)
    finally:
        if given.keep:
            say(f"the logs are in {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    say(f"took {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
