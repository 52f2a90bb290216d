"""`python -m tests.chaos --seed 7 --kills 10`: a broker, a ClickHouse, a load, and a hand on the plug."""

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tests.chaos.run import Plan, run
from tests.support.services import Service

from tollgate.runtime.logs import configure_logs
from tollgate.runtime.settings import Settings, load_settings


def main() -> int:
    """Run the plan and print the outcome as one JSON line; 1 when anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeat a run; drawn and printed otherwise")
    parser.add_argument("--kills", type=int, default=10, help="how often a worker is killed with signal 9")
    parser.add_argument("--pauses", type=int, default=0, help="how often a worker is frozen for 13 s")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--events-per-second", type=int, default=3_000)
    parser.add_argument("--keep", action="store_true", help="leave data and logs where they are, and say where")
    given = parser.parse_args()
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    plan = Plan(seed, given.kills, given.workers, given.pauses, given.events_per_second)
    _say(f"seed {seed}: {plan}")
    configure_logs("error")
    with ExitStack() as stack:
        if given.keep:
            directory = Path(tempfile.mkdtemp(prefix="tollgate-chaos-"))
            _say(f"data and logs: {directory}")
        else:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tollgate-chaos-")))
        settings = _services(stack, directory)
        outcome = asyncio.run(run(settings, plan, directory, _say))
    for wrong in outcome.wrong[:20]:
        _say(f"WRONG: {wrong}")
    sys.stdout.write(json.dumps({"seed": seed, **asdict(outcome), "wrong": len(outcome.wrong)}) + "\n")
    return 1 if outcome.wrong else 0


def _services(stack: ExitStack, directory: Path) -> Settings:
    kafka, clickhouse = Service("kafka", directory), Service("clickhouse", directory)
    for service in (kafka, clickhouse):
        stack.callback(service.stop)
        service.start()
    return load_settings(
        kafka_bootstrap_servers=kafka.address,
        clickhouse_url=f"http://{clickhouse.address}",
        data_dir=directory / "data",
        topic_prefix="chaos.",
        application="chaos",
    )


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


if __name__ == "__main__":
    sys.exit(main())
