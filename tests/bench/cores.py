"""`python -m tests.bench.cores`: events per second that each core counts and writes, in one process, without Kafka.

The cores take turns, so that a slow moment of the machine hits both; each figure is the median of its rounds.
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections import Counter
from datetime import UTC, datetime

from aiokafka import ConsumerRecord
from tests.bench.workload import Workload
from tests.support.metered import Metered

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.ledger import Core, Counters, Policy, choose_core
from tollgate.ledger.core import HandedOver
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.user_stage import UserStage
from tollgate.schemas.partitions import partition_of

# What a worker that works off a backlog gets of one partition at once.
BATCH = 6_000
CORES: tuple[Core, ...] = ("python", "compiled")
# Half of them are of the user's partition.
COMBINATIONS = [
    "user/*+model/*", "org/*+model/*", "user/*+feature/*", "org/*+feature/*",
    "user/*+provider/*+model/*", "model/*+agent/*", "user/*+service/*", "service/*+model/*",
]  # fmt: skip


def records_of(workload: Workload) -> list[ConsumerRecord]:
    """The records of partition 0 of 8, as the consumer hands them over."""
    now_ms = int(datetime.now(UTC).timestamp()) * 1000
    sent = (sent for sent in workload.records() if partition_of(sent[0], 8) == 0)
    return [
        ConsumerRecord("tollgate.usage", 0, offset, now_ms, 1, key, value, None, len(key), len(value), ())
        for offset, (key, value) in enumerate(sent)
    ]


def seconds(core: Core, records: list[ConsumerRecord], policy: Policy) -> tuple[float, float]:
    """Processor seconds in which a new stage applies all records, and writes them."""
    stage = UserStage(0, policy, Counters(), core=core)
    applying = writing = 0.0
    for first in range(0, len(records), BATCH):
        started = time.process_time()
        stage.apply(records[first : first + BATCH])
        applied = time.process_time()
        stage.write(Outbox(), records[0].timestamp)
        applying += applied - started
        writing += time.process_time() - applied
    return applying, writing


def handed_over(records: list[ConsumerRecord], policy: Policy) -> Counter[str]:
    """How many records the compiled core leaves to Python, by reason."""
    stage = UserStage(0, policy, Counters(), core="compiled")
    found: Counter[str] = Counter()
    tally = stage._compiled
    assert tally is not None
    count = tally.count

    def counted(*given: object) -> tuple[int, HandedOver | None]:
        at, why = count(*given)  # type: ignore[arg-type] # passed on as they came
        if why:
            found[why] += 1
        return at, why

    tally.count = counted  # type: ignore[assignment] # a benchmark looks in from outside
    stage.apply(records)
    return found


def main() -> None:
    """Print a line for people and one of JSON per core."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cores", description=__doc__)
    parser.add_argument("--events", type=int, default=400_000, help="of all 8 partitions; one of them is counted")
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--combinations", type=int, default=0, choices=range(len(COMBINATIONS) + 1), metavar="N")
    parser.add_argument("--exact", action="store_true", help="budgets on names that no event has, in place of stars")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    given = parser.parse_args()
    if choose_core() != "compiled":
        sys.exit("there is no compiled core to measure: install with cargo")
    records = records_of(Workload(given.seed, given.events, users=given.users))
    scopes = [scope.replace("*", "x") if given.exact else scope for scope in COMBINATIONS[: given.combinations]]
    budgets = Metered({scope: ["month"] for scope in scopes}) if scopes else BudgetBook()
    policy = Policy(budgets, lambda: Pricer(load_price_book("default")))
    took: dict[Core, list[tuple[float, float]]] = {core: [] for core in CORES}
    for _ in range(given.rounds):
        for core in CORES:
            took[core].append(seconds(core, records, policy))
    print(f"seed {given.seed}; {len(records)} events in batches of {BATCH}; medians of {given.rounds} rounds")
    rate = {core: len(records) / statistics.median(map(sum, took[core])) for core in CORES}
    for core in CORES:
        apply_us, write_us = (1e6 * statistics.median(part) / len(records) for part in zip(*took[core], strict=True))
        print(f"{core:9} {rate[core]:9,.0f} events/s: apply {apply_us:.2f} µs, write {write_us:.2f} µs per event")
    left = handed_over(records, policy)
    print(f"left to Python: {sum(left.values()) / len(records):.2%} {dict(left)}")
    line = {"figure": "apply and write", "ours": round(rate["compiled"]), "peer": "the Python core"}
    line |= {"peer_value": round(rate["python"]), "ratio": round(rate["compiled"] / rate["python"], 2)}
    print(json.dumps(line | {"unit": "events/s"}))


if __name__ == "__main__":
    main()
