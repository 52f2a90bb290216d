"""Sums of a batch by columns: the same as adding event by event."""

import random

from msgspec.structs import astuple

from tollgate.domain.spend import Spend
from tollgate.ledger.sums import BatchSums


def add(sums: BatchSums, names: tuple[str, ...], time: tuple[int, int], cost: int, usage: dict[str, int]) -> None:
    for dimension, nano in usage.items():
        numbers, amounts = sums.usage.setdefault(dimension, ([], []))
        numbers.append(len(sums))
        amounts.append(nano)
    sums.names.append(names)
    sums.times.append(time)
    sums.costs_picousd.append(cost)
    sums.retails_picousd.append(2 * cost)


def rows(sums: BatchSums) -> dict[tuple[int, str, int, int], list[object]]:
    found = [
        ((position, name, slot, since), list(astuple(spend))) for position, name, slot, since, spend in sums.by_name()
    ]
    assert len(found) == len(dict(found))
    return dict(found)


def test_nothing_sums_to_nothing() -> None:
    assert rows(BatchSums()) == {}


def test_each_name_gets_what_its_events_add_and_no_name_gets_nothing() -> None:
    sums = BatchSums()
    add(sums, ("u1", "SEO"), (0, 4), 5, {"images": 1})
    add(sums, ("u2", ""), (0, 4), 7, {"input_tokens": 0})
    assert rows(sums) == {
        (0, "u1", 0, 4): [5, 10, 1, {"images": 1}],
        (0, "u2", 0, 4): [7, 14, 1, {"input_tokens": 0}],
        (1, "SEO", 0, 4): [5, 10, 1, {"images": 1}],
    }


def test_slots_and_since_when_the_horizon_is_as_it_is_are_told_apart() -> None:
    sums = BatchSums()
    for time in ((0, 4), (3_600_000, 4), (0, 3), (0, 4)):
        add(sums, ("u1",), time, 1, {})
    assert rows(sums) == {
        (0, "u1", 0, 4): [2, 4, 2, {}],
        (0, "u1", 3_600_000, 4): [1, 2, 1, {}],
        (0, "u1", 0, 3): [1, 2, 1, {}],
    }


def test_sums_beyond_64_bits_are_exact() -> None:
    sums = BatchSums()
    for _ in range(3):
        add(sums, ("u1",), (0, 4), 2**63 - 1, {"characters": 10**27})
    assert rows(sums) == {(0, "u1", 0, 4): [3 * (2**63 - 1), 6 * (2**63 - 1), 3, {"characters": 3 * 10**27}]}


def test_a_sum_of_exactly_63_bits_does_not_wrap() -> None:
    sums = BatchSums()
    for _ in range(2):
        add(sums, ("u1",), (0, 4), 2**62, {})
    assert rows(sums)[0, "u1", 0, 4][0] == 2**63


def test_columns_give_what_adding_event_by_event_gives() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rnd = random.Random(seed)
    sums = BatchSums()
    wanted: dict[tuple[int, str, int, int], Spend] = {}
    for _ in range(2_000):
        names = (f"u{rnd.randrange(50)}", rnd.choice(["", "a", "b"]), "global")
        time = (rnd.randrange(3) * 3_600_000, rnd.choice([4, 4, 3]))
        cost, usage = rnd.randrange(10**13), {d: rnd.randrange(10**12) for d in rnd.sample("xyz", rnd.randrange(4))}
        add(sums, names, time, cost, usage)
        for position, name in enumerate(names):
            if name:
                wanted.setdefault((position, name, *time), Spend()).add(Spend(cost, 2 * cost, 1, usage))
    assert rows(sums) == {key: list(astuple(spend)) for key, spend in wanted.items()}
