"""The same events give the same totals in any order, with repeats, in other batches or partitions, and on a replay.

`TOLLGATE_TEST_EXAMPLES=2000` makes it long; the seed that a failure prints repeats it.
"""

import json
import os
import random
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from tests.support.usage import TIME_MS, event, record

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.ledger import Counters, Policy
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.shared_stage import SharedStage
from tollgate.ledger.user_stage import UserStage
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import DELTA_PARTITIONS, Topic

SEED = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))
EXAMPLES = int(os.environ.get("TOLLGATE_TEST_EXAMPLES", "60"))
PRICER = Pricer(load_price_book("default"))
POLICY = Policy(BudgetBook(), lambda: PRICER)
NAMES = ("agent", "service", "campaign", "org")
# 2.50 and 10 USD per million tokens.
USD = {"input_tokens": Decimal("0.0000025"), "output_tokens": Decimal("0.00001")}
# Each with the starts of its hour, day and month.
TIMES = {
    "2026-11-21T10:00:00Z": ("2026-11-21T10:00:00Z", "2026-11-21T00:00:00Z", "2026-11-01T00:00:00Z"),
    "2026-11-21T09:59:59.999Z": ("2026-11-21T09:00:00Z", "2026-11-21T00:00:00Z", "2026-11-01T00:00:00Z"),
    "2026-11-21T01:00:00+02:00": ("2026-11-20T23:00:00Z", "2026-11-20T00:00:00Z", "2026-11-01T00:00:00Z"),
    "2026-11-18T10:00:00Z": ("2026-11-18T10:00:00Z", "2026-11-18T00:00:00Z", "2026-11-01T00:00:00Z"),
    "2026-10-31T23:59:59Z": (None, "2026-10-31T00:00:00Z", "2026-10-01T00:00:00Z"),
    "2024-11-30T12:00:00Z": (None, None, "2024-11-01T00:00:00Z"),
}

Event = dict[str, Any]
Total = tuple[Decimal, int, dict[str, Decimal]]
Totals = dict[str, Total]

many = settings(
    max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True
)


@st.composite
def event_lists(draw: st.DrawFn) -> list[Event]:
    """Events with identities of their own."""
    made = []
    for number in range(draw(st.integers(1, 25))):
        usage = {d: draw(st.integers(0, 10**7)) for d in draw(st.sets(st.sampled_from(list(USD)), min_size=1))}
        data: dict[str, Any] = {name: draw(st.sampled_from(("", "a", "b"))) for name in NAMES}
        data = {name: value for name, value in data.items() if value}
        data["usage"] = usage
        user = f"u{draw(st.integers(0, 5))}"
        made.append(event(f"e{number}", user, time=draw(st.sampled_from(list(TIMES))), data=data))
    return made


class Ledger:
    """Both stages over `partitions` partitions, with their outputs. `rng` places batches, transactions and crashes."""

    def __init__(self, partitions: int, rng: random.Random) -> None:
        self._partitions = partitions
        self._rng = rng
        self.spend: dict[str, Any] = {}
        self._outputs: dict[tuple[Topic, int], list[Any]] = defaultdict(list)

    def count(self, events: Sequence[Event]) -> Totals:
        """The latest spend record of every scope and window."""
        logs: dict[int, list[Any]] = defaultdict(list)
        for e in events:
            log = logs[partition_of(e["subject"].encode(), self._partitions)]
            log.append(json.dumps(e).encode())
        for partition in range(self._partitions):
            self._run(Topic.USAGE, partition, logs[partition])
        for partition in range(DELTA_PARTITIONS):
            self._run(Topic.DELTAS, partition, [value for _, value, _ in self._outputs[Topic.DELTAS, partition]])
        return {key: _total(value) for key, value in self.spend.items()}

    def _new(self, topic: Topic, partition: int) -> UserStage | SharedStage:
        if topic is Topic.USAGE:
            return UserStage(partition, POLICY, Counters(), self._partitions, core="python")
        return SharedStage(partition, POLICY)

    def _run(self, topic: Topic, partition: int, log: Sequence[bytes]) -> None:
        rng, stage = self._rng, self._new(topic, partition)
        rows: dict[str, bytes] = {}
        numbers: dict[str, int] | None = None
        committed = position = 0
        while committed < len(log) or stage.pending():
            if position < len(log):
                until = min(len(log), position + rng.randint(1, 7))
                stage.apply([record(log[n], n, partition=partition) for n in range(position, until)])
                position = until
            deed = rng.randrange(4)
            if deed == 0:
                # A crash: memory is gone, and the successor replays from the last transaction.
                stage, position = self._new(topic, partition), committed
                stage.restore(dict(rows), numbers)
                if topic is Topic.USAGE:
                    for _, value, _ in self._outputs[Topic.IDENTITIES, partition]:
                        stage.remember(value)
            elif deed < 3:
                outbox = Outbox()
                numbers = stage.write(outbox, TIME_MS)
                committed = position
                self._commit(outbox, stage.state, partition, rows)

    def _commit(self, outbox: Outbox, state: Topic, partition: int, rows: dict[str, bytes]) -> None:
        for key, value, _ in outbox.records.pop((state, partition), []):
            assert key is not None
            if value is None:
                rows.pop(key.decode(), None)
            else:
                rows[key.decode()] = value
        for place, records in outbox.records.items():
            self._outputs[place] += records
            if place[0] is Topic.SPEND:
                self.spend |= {key.decode(): json.loads(value or b"") for key, value, _ in records if key is not None}


def _total(value: dict[str, Any]) -> Total:
    usage = {dimension: Decimal(amount) for dimension, amount in value["usage"].items()}
    return Decimal(value["spent_usd"]), value["events"], usage


def right(events: Sequence[Event]) -> Totals:
    """The same from the events alone."""
    sums: dict[str, Any] = {}
    for e in events:
        data = e["data"]
        cost = sum((USD[d] * n for d, n in data["usage"].items()), Decimal(0))
        scopes = [f"user/{e['subject']}", "global", f"provider/{data['provider']}", f"model/{data['model']}"]
        scopes += [f"{name}/{data[name]}" for name in NAMES if name in data]
        starts = zip(("hour", "day", "month"), TIMES[e["time"]], strict=True)
        windows = ["lifetime|1970-01-01T00:00:00Z", *(f"{kind}|{start}" for kind, start in starts if start)]
        for key in (f"{scope}|{window}" for scope in scopes for window in windows):
            spent, count, usage = sums.get(key, (Decimal(0), 0, {}))
            usage = usage | {d: usage.get(d, 0) + n for d, n in data["usage"].items()}
            sums[key] = spent + cost, count + 1, usage
    return sums


@hypothesis_seed(SEED)
@many
@given(events=event_lists(), rng=st.randoms(use_true_random=False), partitions=st.sampled_from((1, 2, 8)))
def test_order_repeats_batches_replay_and_partitions_change_no_total(
    events: list[Event], rng: random.Random, partitions: int
) -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}")
    wanted = right(events)
    taken = [*events, *rng.choices(events, k=rng.randrange(len(events)))]
    rng.shuffle(taken)
    assert Ledger(partitions, rng).count(taken) == wanted


@hypothesis_seed(SEED)
@many
@given(events=event_lists(), rng=st.randoms(use_true_random=False))
def test_in_every_window_the_users_make_the_whole_and_so_do_the_names_of_each_dimension(
    events: list[Event], rng: random.Random
) -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}")
    spent: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for key, (cost, _, _) in Ledger(8, rng).count(events).items():
        scope, window = key.split("|", 1)
        spent[window][scope.partition("/")[0]] += cost
    nameless: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for name in NAMES:
        for key, (cost, _, _) in right([e for e in events if name not in e["data"]]).items():
            scope, window = key.split("|", 1)
            if scope == "global":
                nameless[window][name] = cost
    for window, by_dimension in spent.items():
        whole = by_dimension["global"]
        assert by_dimension["user"] == by_dimension["model"] == by_dimension["provider"] == whole
        for name in NAMES:
            assert by_dimension[name] + nameless[window][name] == whole
