"""A budget is set while events come: what both stages count, what flags say until all is counted, and restarts."""

from typing import Any, Final

import pytest
from tests.support.cores import CORES
from tests.support.metered_ledger import ANN, BOB, SHARED, MeteredLedger, Step, budget, play

from tollgate.ledger.core import Core
from tollgate.schemas.instants import parse_instant as at

OWN, PATTERN = f"user/{ANN}+model/gpt-4o", "user/*+model/*"
SHARED_PATTERN, SHARED_ONE = "org/*+model/*", "org/acme+model/gpt-4o"
NOVEMBER = "month|2026-11-01T00:00:00Z"
IN_TOKYO = "day@Asia/Tokyo|2026-11-20T15:00:00Z"
FROM_15 = "month@Europe/Amsterdam~15|2026-11-14T23:00:00Z"
WEEK = "week|2026-11-16T00:00:00Z"
DECEMBER_MS = at("2026-12-01T00:00:00Z")

EVERY_KIND: Final = (
    budget(OWN),
    budget(SHARED_PATTERN),
    budget(f"user/{ANN}", window="day", timezone="Asia/Tokyo"),
    budget("org/acme", timezone="Europe/Amsterdam", month_starts_on=15),
    budget("user/*", "1000000", window="week", unit="credits"),
)


@pytest.fixture(params=CORES)
def core(request: pytest.FixtureRequest) -> Core:
    """Every test holds for either core."""
    found: Core = request.param
    return found


def sent(user: str, usd: str, **data: Any) -> Step:
    return lambda ledger: ledger.send(user, usd, org="acme", **data)


def budgets(*wanted: dict[str, Any]) -> Step:
    return lambda ledger: ledger.set_budgets(*wanted)


def answer(first: int = 0, last: int | None = None) -> Step:
    return lambda ledger: ledger.answer(first=first, last=last)


def clock(instant: str) -> Step:
    def step(ledger: MeteredLedger) -> None:
        ledger.now_ms = at(instant)

    return step


def count(ledger: MeteredLedger) -> None:
    ledger.count()


def commit(ledger: MeteredLedger) -> None:
    ledger.commit()


# Ann spends 1, 2, 4, 8 and 64, Bob 16 and 32. 1 was on the 10th, 2 on the 20th at 14:00, before the day in Tokyo.
IN_MID_BATCH: Final[list[Step]] = [
    sent(ANN, "1", time="2026-11-10T10:00:00Z", retail_tokens=100),
    sent(ANN, "2", time="2026-11-20T14:00:00Z", retail_tokens=10),
    sent(BOB, "16", model="o3"),
    commit,
    sent(ANN, "4", retail_tokens=1),
    count,
    budgets(*EVERY_KIND),
    sent(ANN, "8"),
    sent(BOB, "32"),
    count,
    commit,
    answer(0, 1),
    commit,
    sent(ANN, "64", retail_tokens=1000),
    commit,
    answer(),
    commit,
    answer(),
    commit,
]


def test_a_meter_that_begins_in_mid_batch_gets_its_past_in_parts(core: Core) -> None:
    ledger = play(core, IN_MID_BATCH)
    assert ledger.spent(OWN, NOVEMBER) == ("79", 5)
    # 1 + 2 + 4 + 8 + 64 and 32 of gpt-4o, and 16 of o3.
    assert ledger.spent(SHARED_ONE, NOVEMBER) == ("111", 6)
    assert ledger.spent("org/acme+model/o3", NOVEMBER) == ("16", 1)
    # 4 + 8 + 64.
    assert ledger.spent(f"user/{ANN}", IN_TOKYO) == ("76", 3)
    # 2 + 4 + 8 + 64 + 16 + 32.
    assert ledger.spent("org/acme", FROM_15) == ("126", 6)
    # 10 + 1 + 1000: the 10th is in an earlier week.
    assert ledger.spend[f"user/{ANN}|{WEEK}"]["usage"]["credits"] == "1011"
    assert ledger.spent(f"user/{BOB}", WEEK) == ("48", 2)
    assert all(question.filled for question in ledger.questions.values())


def test_flags_say_that_a_sum_is_incomplete_until_it_is_whole_and_then_once_that_it_is(core: Core) -> None:
    ledger = play(core, IN_MID_BATCH)
    # All of Ann's past is one row; that of `org/*+model/*` in each partition as well.
    assert ledger.told(OWN) == [("8", True), ("15", False), ("79", False)]
    assert ledger.told(SHARED_ONE) == [("40", True), ("47", False), ("111", False)]
    assert ledger.told(f"user/{ANN}") == [("8", True), ("12", False), ("76", False)]
    assert ledger.told("org/acme") == [("40", True), ("62", False), ("126", False)]
    for flags in ledger.flags.values():
        assert [flag["revision"] for flag in flags] == list(range(1, len(flags) + 1))


# A pattern has a row, and so a part, for each scope. The second half of the answers comes later, after repeats.
IN_TWO_PARTS: Final[list[Step]] = [
    sent(ANN, "1"),
    sent(ANN, "2", model="o3"),
    sent(BOB, "4"),
    sent(BOB, "8", model="o3"),
    commit,
    budgets(budget(PATTERN), budget(SHARED_PATTERN)),
    commit,
    answer(0, 1),
    answer(0, 1),
    commit,
    sent(ANN, "16"),
    commit,
    answer(),
    answer(),
    commit,
]


def test_parts_that_come_twice_or_with_a_restart_between_them_are_added_once(core: Core) -> None:
    ledger = play(core, IN_TWO_PARTS)
    assert ledger.spent(OWN, NOVEMBER) == ("17", 2)
    assert ledger.spent(f"user/{ANN}+model/o3", NOVEMBER) == ("2", 1)
    assert ledger.spent(f"user/{BOB}+model/o3", NOVEMBER) == ("8", 1)
    assert ledger.spent(SHARED_ONE, NOVEMBER) == ("21", 3)
    assert ledger.spent("org/acme+model/o3", NOVEMBER) == ("10", 2)
    # The first parts are those of gpt-4o; until the second ones nothing is whole.
    assert ledger.told(OWN) == [("1", True), ("17", True), ("17", False)]
    assert ledger.told(SHARED_ONE) == [("5", True), ("21", True), ("21", False)]


REMOVED_AND_SET_AGAIN: Final[list[Step]] = [
    sent(ANN, "1"),
    commit,
    budgets(budget(OWN), budget(SHARED_PATTERN)),
    sent(ANN, "2"),
    commit,
    answer(),
    commit,
    budgets(),
    sent(ANN, "4"),
    commit,
    budgets(budget(OWN), budget(SHARED_PATTERN)),
    sent(ANN, "8"),
    sent(BOB, "16"),
    commit,
    answer(),
    commit,
]


def test_a_budget_that_is_removed_and_set_again_in_its_window_goes_on_where_it_was(core: Core) -> None:
    ledger = play(core, REMOVED_AND_SET_AGAIN)
    assert ledger.spent(OWN, NOVEMBER) == ("15", 4)
    assert ledger.spent(SHARED_ONE, NOVEMBER) == ("31", 5)
    assert [flag for flag in ledger.told(OWN) if flag[1]] == [("2", True)]
    assert ledger.told(OWN)[-1] == ("15", False)


# In the last five minutes of November, when events of December come already.
OVER_THE_END: Final[list[Step]] = [
    sent(ANN, "1"),
    commit,
    budgets(budget(OWN), budget(SHARED_PATTERN)),
    commit,
    answer(),
    commit,
    budgets(),
    commit,
    clock("2026-11-30T23:57:00Z"),
    sent(ANN, "2", time="2026-12-01T00:00:01Z"),
    sent(ANN, "4", time="2026-11-30T23:57:00Z"),
    commit,
    budgets(budget(OWN), budget(SHARED_PATTERN)),
    sent(ANN, "8", time="2026-12-01T00:00:01Z"),
    sent(ANN, "16", time="2026-11-30T23:57:00Z"),
    commit,
    clock("2026-12-01T00:00:02Z"),
    sent(ANN, "32", time="2026-12-01T00:00:02Z"),
    sent(BOB, "64", time="2026-12-01T00:00:02Z"),
    commit,
    sent(ANN, "128", time="2026-12-01T00:00:03Z"),
    commit,
    answer(),
    commit,
]


def test_a_budget_that_is_set_again_just_before_its_window_ends_counts_all_of_the_next(core: Core) -> None:
    ledger = play(core, OVER_THE_END)
    december = "month|2026-12-01T00:00:00Z"
    assert ledger.spent(OWN, december) == ("170", 4)
    assert ledger.spent(SHARED_ONE, december) == ("234", 5)
    assert ledger.spent(OWN, NOVEMBER) == ("21", 3)
    assert ledger.told(OWN)[-1] == ("170", False)
    assert ledger.told(SHARED_ONE)[-1] == ("234", False)


# One narrow budget is older than the pattern, another is younger, and the pattern goes before its past comes.
OVERLAPPING: Final[list[Step]] = [
    sent(ANN, "1"),
    sent(ANN, "2", model="o3"),
    commit,
    budgets(budget(OWN)),
    sent(ANN, "4"),
    commit,
    budgets(budget(OWN), budget(PATTERN)),
    sent(ANN, "8"),
    sent(ANN, "16", model="o3"),
    commit,
    budgets(budget(OWN), budget(PATTERN), budget(f"user/{ANN}+model/o3")),
    sent(ANN, "32", model="o3"),
    commit,
    budgets(budget(OWN), budget(f"user/{ANN}+model/o3")),
    sent(ANN, "64", model="o3"),
    commit,
    answer(),
    commit,
    answer(),
    commit,
]


def test_of_overlapping_meters_one_adds_the_past(core: Core) -> None:
    ledger = play(core, OVERLAPPING)
    assert ledger.spent(OWN, NOVEMBER) == ("13", 3)
    assert ledger.spent(f"user/{ANN}+model/o3", NOVEMBER) == ("114", 4)
    assert ledger.told(OWN)[-1] == ("13", False)
    assert ledger.told(f"user/{ANN}+model/o3")[-1] == ("114", False)


def lasting(ledger: MeteredLedger) -> dict[str, Any]:
    """What was spent, but for hours: old ones are forgotten at a restart, or later."""
    return {key: said for key, said in ledger.spend.items() if said["window"]["kind"] != "hour"}


SCENARIOS: Final = {
    "in mid batch": IN_MID_BATCH,
    "in two parts": IN_TWO_PARTS,
    "removed and set again": REMOVED_AND_SET_AGAIN,
    "over the end": OVER_THE_END,
    "overlapping": OVERLAPPING,
}


@pytest.mark.parametrize("stage", [0, 1, SHARED], ids=["Ann's", "Bob's", "shared"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_restart_anywhere_gives_the_same_sums(core: Core, name: str, stage: int) -> None:
    steps = SCENARIOS[name]
    right = play(core, steps)
    for number in range(1, len(steps)):
        found = play(core, steps, (number, stage))
        assert lasting(found) == lasting(right), f"restarted before step {number}"
        assert {s: told[-1] for s in right.flags if (told := found.told(s))} == {
            scope: right.told(scope)[-1] for scope in right.flags
        }, f"restarted before step {number}"
