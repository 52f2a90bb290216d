"""No sequence of accepted inputs makes an output over its topic's limit, in either stage.

`TOLLGATE_TEST_EXAMPLES=2000` makes it long; the seed that a failure prints repeats it.
"""

import os
import random
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from tests.support.cores import CORES
from tests.support.usage import TIME_MS, event, record

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.ledger import Counters, Policy
from tollgate.ledger.core import Core
from tollgate.ledger.outbox import Outbox, OutRecord
from tollgate.ledger.shared_stage import SharedStage
from tollgate.ledger.user_stage import UserStage
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import DELTA_PARTITIONS, TOPIC_SPECS, Topic

SEED = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))
EXAMPLES = int(os.environ.get("TOLLGATE_TEST_EXAMPLES", "15"))
LIMITS = {spec.topic: int(spec.configs["max.message.bytes"]) for spec in TOPIC_SPECS}
PRICER = Pricer(load_price_book("default"))
# Every threshold of these is passed at once, by every scope.
BUDGETS = [
    {
        "scope": scope,
        "limit": "0.000000001" if unit == "images" else "0.000000000001",
        "window": window,
        "unit": unit,
        "id": f"{number}".ljust(200, "é"),
    }
    for number, (scope, window, unit) in enumerate(
        (scope, window, unit)
        for scope in ("user/*", "org/*", "global")
        for window in ("hour", "day", "month", "lifetime")
        for unit in ("usd", "images")
    )
]
POLICY = Policy(
    BudgetBook(
        Budget.from_record(BudgetRecord.model_validate(b | {"updated_at": "2026-11-01T00:00:00Z"})) for b in BUDGETS
    ),
    lambda: PRICER,
)
USERS = [u for u in (f"\U0001f4b8{n}".ljust(250, '"') for n in range(60)) if partition_of(u.encode(), 8) == 0]
DAYS = ("2026-11-21T10:00:00Z", "2026-11-20T10:00:00Z", "2026-11-21T09:00:00Z", "2026-09-01T00:00:00Z")


@st.composite
def usages(draw: st.DrawFn) -> dict[str, int]:
    """Up to 64 keys, of up to 256 characters, many of them new."""
    first, count = draw(st.integers(0, 5_000)), draw(st.sampled_from((1, 2, 64)))
    length = draw(st.sampled_from((5, 256)))
    amount = draw(st.sampled_from((1, 10**18 - 1)))
    keys = (f"k{first + n}_".ljust(length, "x") for n in range(count))
    # A whole event has 64 KiB at most.
    return dict.fromkeys(keys, amount)


@st.composite
def inputs(draw: st.DrawFn) -> list[ConsumerRecord]:
    """Some thousand records at most, from a few drawn shapes."""
    records: list[ConsumerRecord] = []
    for shape in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(("events", "events", "large", "headers")))
        if kind == "large":
            records.append(record(b"x" * draw(st.sampled_from((70_000, 4_194_204, 9_000_000))), key=b"k"))
            continue
        if kind == "headers":
            headers = tuple((f"ce_{n}", b"h" * 90_000) for n in range(draw(st.integers(1, 60))))
            records.append(record(event(f"h{shape}", draw(st.sampled_from(USERS))), headers=headers))
            continue
        name = draw(st.sampled_from(('"' * 240, "\U0001f4b8" * 240, "a")))
        data: dict[str, Any] = {"usage": draw(usages()), "metadata": {"m": "\\" * draw(st.sampled_from((0, 20_000)))}}
        if draw(st.booleans()):
            data["cost_usd"] = draw(st.sampled_from(("0", "1.5", "99999999999999")))
        else:
            data |= {"provider": name, "model": name}
        user, time = draw(st.sampled_from(USERS)), draw(st.sampled_from(DAYS))
        for number in range(draw(st.sampled_from((1, 30, 1_500)))):
            names = {"org": f"{name}{number}", "campaign": f"{name}{number}"}
            records.append(record(event(f"e{shape}-{number}", user, time=time, data=data | names)))
    for offset, one in enumerate(records):
        object.__setattr__(one, "offset", offset)
    return records


def size_of(one: OutRecord) -> int:
    """No fewer bytes than a record batch of this one record has."""
    key, value, headers = one
    return 200 + len(key or b"") + len(value or b"") + sum(len(n.encode()) + len(v) + 10 for n, v in headers)


def assert_fits(outbox: Outbox) -> None:
    for (topic, _), records in outbox.records.items():
        for one in records:
            assert size_of(one) <= LIMITS[topic], (topic, (one[0] or b"")[:80])


@pytest.mark.parametrize("core", CORES)
@hypothesis_seed(SEED)
@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(records=inputs(), batch=st.sampled_from((7, 500, 20_000)))
def test_every_output_fits_into_its_topic(core: Core, records: list[ConsumerRecord], batch: int) -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}")
    stage = UserStage(0, POLICY, Counters(), core=core)
    shared = [SharedStage(partition, POLICY) for partition in range(DELTA_PARTITIONS)]
    for first in range(0, len(records), batch):
        stage.apply(records[first : first + batch])
        outbox = Outbox()
        stage.write(outbox, TIME_MS)
        assert_fits(outbox)
        for partition, second in enumerate(shared):
            deltas = outbox.records.get((Topic.DELTAS, partition), [])
            if deltas:
                second.apply([record(value, n, partition=partition) for n, (_, value, _) in enumerate(deltas)])
            written = Outbox()
            second.write(written, TIME_MS)
            assert_fits(written)
