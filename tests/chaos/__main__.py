"""`python -m tests.chaos --seed 7 --faults 200`: injects faults into a whole installation under load."""

import argparse
import asyncio
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.chaos.run import run
from tests.chaos.services import can_mount, enter_own_mounts
from tests.chaos.world import Plan, Say

from tollgate.runtime.logs import configure_logs


def main() -> int:
    """Run the plan and print the outcome as one JSON line; 1 when anything is wrong."""
    given = _arguments()
    if given.seed is None:
        given.seed = secrets.randbelow(10**6)
        sys.argv += ["--seed", str(given.seed)]
    enter_own_mounts(["-m", "tests.chaos", *sys.argv[1:]])
    plan = Plan(
        seed=given.seed,
        minutes=given.minutes,
        faults=given.faults if given.faults or given.minutes else 10,
        brokers=given.brokers,
        events_per_second=given.events_per_second,
        faults_per_round=given.faults_per_round,
        usage_partitions=given.usage_partitions,
        kinds=tuple(given.only),
        falsify=given.falsify,
    )
    configure_logs("error")
    directory = Path(tempfile.mkdtemp(prefix="tollgate-chaos-"))
    log = given.log or directory / "chaos.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    say = _teller(log)
    say(f"seed {plan.seed}: {plan}")
    if not can_mount():
        say("no disk of its own can be mounted here: the faults of full disks are left out")
    outcome = asyncio.run(run(plan, directory, say))
    for wrong in outcome.wrong[:30]:
        say(f"WRONG: {wrong}")
    if outcome.wrong or given.keep:
        say(f"data and logs: {_saved(directory)}")
    summary = json.dumps({"seed": plan.seed, **asdict(outcome), "wrong": len(outcome.wrong)})
    say(f"faults: {', '.join(f'{n} × {kind}' for kind, n in outcome.faults.items())}")
    say(summary)
    for disk in directory.glob("*-data"):
        subprocess.run(["umount", str(disk)], capture_output=True, check=False)
    shutil.rmtree(directory)
    sys.stdout.write(summary + "\n")
    return 1 if outcome.wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="which faults; drawn and printed otherwise")
    parser.add_argument("--faults", type=int, help="end after this many faults (default: 10)")
    parser.add_argument("--minutes", type=float, help="end after this many minutes")
    parser.add_argument("--brokers", type=int, default=1, choices=(1, 3), help="nodes of the Kafka cluster")
    parser.add_argument("--events-per-second", type=int, default=500)
    parser.add_argument("--faults-per-round", type=int, default=12)
    parser.add_argument("--usage-partitions", type=int, default=8)
    parser.add_argument("--only", action="append", default=[], help="kinds of faults, for example 'kill *'; repeatable")
    parser.add_argument("--falsify", action="store_true", help="at the end, see that the checker sees what is wrong")
    parser.add_argument("--log", type=Path, help="where to write what is said, too")
    parser.add_argument("--keep", action="store_true", help="leave data and logs, and say where")
    return parser.parse_args()


def _teller(log: Path) -> Say:
    def say(text: str) -> None:
        line = f"{time.strftime('%H:%M:%S')} {text}\n"
        sys.stderr.write(line)
        with log.open("a", encoding="utf-8") as file:
            file.write(line)

    return say


def _saved(directory: Path) -> Path:
    """A copy that is still there when the disks of this run have gone with it."""
    saved = Path(tempfile.mkdtemp(prefix="tollgate-chaos-kept-"))
    shutil.copytree(directory, saved, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.lock"))
    return saved


if __name__ == "__main__":
    sys.exit(main())
