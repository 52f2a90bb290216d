"""From the first stage to the second: an amount counts in the windows that held it when it was counted.

While it is 9:59 on 21 November 2026 the hours of 18 November from 9:00 on are held, and while it is 10:30 those from
10:00 on.
"""

import json
from typing import Any

import pytest
from tests.support.cores import CORES
from tests.support.usage import event, record
from tests.unit.ledger.test_users import USER, Bench, policy

from tollgate.ledger.outbox import Outbox
from tollgate.ledger.shared_stage import SharedStage
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.topics import Topic

BEFORE = parse_instant("2026-11-21T09:59:00Z")
AFTER = parse_instant("2026-11-21T10:30:00Z")
NINE = parse_instant("2026-11-18T09:00:00Z")
TODAY = parse_instant("2026-11-21T09:00:00Z")

LIFETIME = "global|lifetime|1970-01-01T00:00:00Z"
MONTH = "global|month|2026-11-01T00:00:00Z"
DAY = "global|day|2026-11-18T00:00:00Z"
HOUR = "global|hour|2026-11-18T09:00:00Z"


@pytest.fixture(autouse=True, params=CORES)
def _core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bench, "core", request.param)


def paid(event_id: str, usd: str, time: str) -> dict[str, Any]:
    return event(event_id, USER, time=time, data={"cost_usd": usd})


def deltas_of(outbox: Outbox) -> list[bytes]:
    """The records for the partition that has `global`."""
    return [value for _, value, _ in outbox.records.get((Topic.DELTAS, 1), []) if value is not None]


def spend(*values: bytes) -> dict[str, tuple[str, int]]:
    """What the second stage says of `global` after these records."""
    stage = SharedStage(1, policy())
    stage.apply([record(value, number, partition=1) for number, value in enumerate(values)])
    outbox = Outbox()
    stage.write(outbox, AFTER)
    found = {}
    for key, value, _ in outbox.records[Topic.SPEND, 1]:
        said = json.loads(value or b"")
        found[(key or b"").decode()] = (said["spent_usd"], said["events"])
    return {key: said for key, said in found.items() if key.startswith("global")}


def test_what_was_held_when_it_was_counted_is_counted_though_the_batch_ended_later() -> None:
    bench = Bench()
    bench.send(paid("e1", "1", "2026-11-18T09:10:00Z"), timestamp=BEFORE)
    bench.send(paid("e2", "2", "2026-11-18T09:20:00Z"), paid("e3", "4", "2026-11-21T10:00:00Z"), timestamp=AFTER)
    outbox = bench.write()
    found = spend(*deltas_of(outbox))
    assert (found[LIFETIME], found[MONTH], found[DAY]) == (("7", 3), ("7", 3), ("3", 2))
    # Only the first one came while its hour was held; for the user it is the same.
    assert found[HOUR] == ("1", 1)
    users = {(key or b"").decode(): json.loads(value or b"") for key, value, _ in outbox.records[Topic.SPEND, 0]}
    assert users[f"user/{USER}|hour|2026-11-18T09:00:00Z"]["spent_usd"] == "1"
    assert users[f"user/{USER}|day|2026-11-18T00:00:00Z"]["spent_usd"] == "3"


def test_punctual_events_of_several_hours_are_one_record() -> None:
    bench = Bench()
    for hour in range(20, 24):
        bench.send(
            paid(f"e{hour}", "1", f"2026-11-20T{hour}:00:00Z"), timestamp=parse_instant(f"2026-11-20T{hour}:30Z")
        )
    values = deltas_of(bench.write())
    assert len(values) == 1
    assert spend(*values)["global|day|2026-11-20T00:00:00Z"] == ("4", 4)


def test_the_records_of_a_transaction_say_how_many_more_of_them_there_are() -> None:
    bench = Bench()
    bench.send(paid("e1", "1", "2026-11-18T09:10:00Z"), timestamp=BEFORE)
    bench.send(paid("e2", "2", "2026-11-18T09:20:00Z"), timestamp=AFTER)
    records = bench.write().records[Topic.DELTAS, 1]
    assert [dict(headers)["tollgate-counted-to"] for _, _, headers in records] == [b"0:2:1", b"0:2:0"]
    # The earlier clock first.
    assert [json.loads(value or b"")[0] for _, value, _ in records] == [TODAY, AFTER]


@pytest.mark.parametrize(
    ("held_kinds", "windows"),
    [(4, {LIFETIME, MONTH, DAY, HOUR}), (3, {LIFETIME, MONTH, DAY}), (2, {LIFETIME, MONTH}), (1, {LIFETIME})],
)
def test_a_record_of_release_0_1_counts_in_as_many_windows_as_it_says(held_kinds: int, windows: set[str]) -> None:
    # By its clock, a month later, none but day and month would be held.
    clock = parse_instant("2026-12-21T10:30:00Z")
    value = b'[%d,[["global",%d,%d,5000000000000,0,2,{"images":3000000000}]]]' % (clock, NINE, held_kinds)
    assert spend(value) == dict.fromkeys(windows, ("5", 2))


def test_a_sum_is_of_a_quarter_of_an_hour() -> None:
    bench = Bench()
    times = ("10:00:00Z", "10:14:59.999Z", "10:15:00Z", "10:59:59.999Z")
    bench.send(*(paid(f"e{time}", "1", f"2026-11-21T{time}") for time in times), timestamp=AFTER + 30 * 60 * 1000)
    (value,) = deltas_of(bench.write())
    ten = parse_instant("2026-11-21T10:00:00Z")
    # Start of the hour, events, and how long after it the slot starts.
    found = [(delta[1], delta[5], delta[7]) for delta in json.loads(value)[1] if delta[0] == "global"]
    assert found == [(ten, 2, 0), (ten, 1, 15 * 60 * 1000), (ten, 1, 45 * 60 * 1000)]
    sums = spend(value)
    assert (sums["global|hour|2026-11-21T10:00:00Z"], sums["global|day|2026-11-21T00:00:00Z"]) == (("4", 4), ("4", 4))


def test_a_worker_of_release_0_1_can_read_what_is_written_now() -> None:
    bench = Bench()
    bench.send(paid("e1", "1", "2026-11-18T09:10:00Z"), paid("e2", "2", "2026-11-21T10:10:00Z"), timestamp=AFTER)
    (value,) = deltas_of(bench.write())
    clock_ms, deltas, _ = json.loads(value)
    assert clock_ms == AFTER
    # Scope, hour, how many windows hold it, cost in 10⁻¹² USD, retail value, events, usage; more it would not look at.
    usage = {"input_tokens": 10**12, "output_tokens": 10**11}
    assert [delta[:7] for delta in deltas if delta[0] == "global"] == [
        ["global", NINE, 3, 10**12, 0, 1, usage],
        ["global", parse_instant("2026-11-21T10:00:00Z"), 4, 2 * 10**12, 0, 1, usage],
    ]
