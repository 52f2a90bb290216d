"""Credits through the first stage: granted, burned, reserved, expired, taken back; balances; and after a restart."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.accounts import (
    STRANGER,
    USER,
    USERS,
    Bench,
    credit,
    letters,
    policy,
    release,
    reservation,
    usage,
    values,
)
from tests.support.cores import CORES
from tests.support.usage import TIME_MS

from tollgate.ledger.core import Core
from tollgate.schemas.amounts import NANO, parse_amount
from tollgate.schemas.topics import DAY_MS, Topic

TOKYO = (10 * NANO, "Asia/Tokyo")
# 15:00 in UTC.
MIDNIGHT = TIME_MS + 5 * 3_600_000


@pytest.fixture(params=CORES)
def core(request: pytest.FixtureRequest) -> Core:
    found: Core = request.param
    return found


def numbers(of: Bench, user: str = USER) -> tuple[str, str, str, str]:
    balance = of.balances[user]
    return balance["available"], balance["reserved"], balance["granted"], balance["burned"]


@pytest.mark.parametrize("restart", [False, True])
def test_credits_are_granted_burned_and_taken_back(core: Core, restart: bool) -> None:
    of = Bench(policy(), core)
    of.send_entries(credit("c1", "20", kind="purchase"), credit("c2", "5", expires_at="2026-12-01T00:00:00Z"))
    of.send(usage("e1", retail_tokens=7), usage("e2", retail_tokens="0.5", status="error"))
    of.write()
    assert numbers(of) == ("18", "0", "25", "7")
    assert of.balances[USER]["buckets"] == [{"kind": "purchase", "left": "18", "expires_at": None}]
    if restart:
        of = of.restarted()
    of.send_entries(credit("c3", "-3", kind="correction"))
    of.write()
    assert numbers(of) == ("15", "0", "22", "7")
    assert of.balances[USER]["revision"] == 2


def test_a_grant_counts_once_whatever_is_repeated_and_other_content_is_a_conflict(core: Core) -> None:
    of = Bench(policy(), core)
    of.send_entries(credit("c1", "20"), credit("c1", "20.0"))
    of.write()
    of = of.restarted()
    of.send_entries(credit("c1", "20"), credit("c1", "21"))
    outbox = of.write()
    assert numbers(of) == ("20", "0", "20", "0")
    assert [reason for reason, _ in letters(outbox)] == ["conflict"]


def test_a_user_without_an_account_burns_nothing_and_has_no_balance(core: Core) -> None:
    of = Bench(policy(), core)
    of.send(usage("e1", retail_tokens=7))
    of.write()
    assert not of.balances
    of.send_entries(credit("c1", "20"))
    of.write()
    assert numbers(of) == ("20", "0", "20", "0")


def test_free_credits_come_back_at_the_users_midnight_with_no_event(core: Core) -> None:
    of = Bench(policy(free=TOKYO), core)
    of.send(usage("e1", retail_tokens=4))
    of.write()
    assert numbers(of) == ("6", "0", "10", "4")
    balance = of.balances[USER]
    assert (balance["free_today"], balance["free_per_day"], balance["free_until"]) == (
        "6",
        "10",
        "2026-11-21T15:00:00Z",
    )
    of.send(reservation("r1", None, credits="7"), timestamp=MIDNIGHT - 1)
    of.send(reservation("r2", None, credits="7"), timestamp=MIDNIGHT)
    of.write()
    assert of.granted() == ["r2"]
    assert (of.decisions[0]["http_status"], of.decisions[0]["available"]) == (402, "6")
    assert numbers(of) == ("3", "7", "14", "4")


def test_a_plan_that_has_ended_gives_no_free_credits(core: Core) -> None:
    of = Bench(policy(free=TOKYO, free_until_ms=TIME_MS + 1000), core)
    of.send(reservation("r1", None, credits="1"), timestamp=TIME_MS + 999)
    of.send(reservation("r2", None, credits="1"), timestamp=TIME_MS + 1000)
    of.write()
    assert of.granted() == ["r1"]
    assert (of.balances[USER]["free_per_day"], of.balances[USER]["free_until"]) == ("0", None)


def test_credits_are_reserved_settled_and_released(core: Core) -> None:
    of = Bench(policy(), core)
    of.send_entries(credit("c1", "10"))
    of.send(reservation("r1", None, credits="6"), reservation("r2", None, credits="5"))
    of.write()
    assert of.granted() == ["r1"]
    assert numbers(of) == ("4", "6", "10", "0")
    of.send(usage("e1", retail_tokens=2, reservation_id="r1", more=True))
    of.write()
    assert numbers(of) == ("4", "4", "10", "2")
    of.send(release("r1"))
    of.write()
    assert numbers(of) == ("8", "0", "10", "2")
    of.send(reservation("r3", None, credits="8"))
    of.write()
    of.stage.tick(TIME_MS)
    of.stage.tick(TIME_MS + 60_000)
    of.write()
    assert numbers(of) == ("8", "0", "10", "2")


def test_reserved_concurrently_exactly_what_is_there_is_granted(core: Core) -> None:
    of = Bench(policy(), core)
    of.send_entries(credit("c1", "10"))
    for first in range(0, 100, 9):
        of.send(*(reservation(f"r{n}", None, credits="1") for n in range(first, min(first + 9, 100))))
        of.write()
        of = of.restarted()
    assert of.granted() == [f"r{n}" for n in range(10)]


def test_usage_that_is_done_makes_a_debt_and_nothing_is_granted_until_it_is_paid(core: Core) -> None:
    of = Bench(policy(), core)
    of.send_entries(credit("c1", "2"))
    of.send(usage("e1", retail_tokens=5), reservation("r1", "0.10"))
    of.write()
    assert numbers(of) == ("-3", "0", "2", "5")
    of.send_entries(credit("c2", "4"))
    of.send(reservation("r2", None, credits="1"))
    of.write()
    assert of.granted() == ["r2"]


def test_credits_expire_with_no_event(core: Core) -> None:
    of = Bench(policy(), core)
    of.send_entries(credit("c1", "2", expires_at="2026-11-21T10:00:01Z"))
    of.write()
    of = of.restarted()
    # A worker that has just begun waits for what it may have to read first.
    of.stage.tick(TIME_MS - 5_000)
    of.stage.tick(TIME_MS + 999)
    assert not of.stage.pending()
    of.stage.tick(TIME_MS + 1000)
    assert of.stage.pending()
    of.write()
    assert numbers(of) == ("0", "0", "2", "0")
    assert of.balances[USER]["expired"] == "2"


def test_a_grant_in_another_users_partition_is_forwarded_on_its_own_topic(core: Core) -> None:
    of = Bench(policy(), core)
    of.send_entries(credit("c1", "2", user=STRANGER))
    outbox = of.write()
    assert [value["id"] for value in values(outbox, Topic.ENTRIES, 3)] == ["c1"]
    assert not of.balances


def test_the_thousand_and_first_grant_is_refused_and_can_come_again_later(core: Core) -> None:
    of = Bench(policy(), core)
    of.send_entries(*(credit(f"c{n}", "1") for n in range(1001)))
    assert letters(of.write()) == [
        ("invalid", "subject: the user has 1,000 grants of which something is left; grant again when some are spent")
    ]
    assert numbers(of) == ("1000", "0", "1000", "0")
    of.send(usage("e1", retail_tokens=1))
    of.send_entries(credit("c1000", "1"))
    of.write()
    assert numbers(of) == ("1000", "0", "1001", "1")


def test_entries_do_not_move_the_clock_by_which_windows_are_held(core: Core) -> None:
    of = Bench(policy(), core)
    of.send(usage("e1"))
    of.send_entries(credit("c1", "1"), timestamp=TIME_MS + 40 * DAY_MS)
    assert of.stage.horizon.clock_ms == TIME_MS


_STEP = st.tuples(
    st.sampled_from(
        ["grant", "take", "burn", "fail", "reserve", "settle", "more", "release", "tick", "write", "restart"]
    ),
    st.integers(0, 2),
    st.integers(1, 12),
    st.integers(0, 40_000_000),
)


@settings(max_examples=60, deadline=None, print_blob=True)
@given(st.lists(_STEP, max_size=40))
def test_no_credit_is_lost_or_made_through_restarts(steps: list[tuple[str, int, int, int]]) -> None:
    of = Bench(policy(free=TOKYO))
    now = TIME_MS
    for number, (what, who, amount, wait_ms) in enumerate(steps):
        user, some = USERS[who], f"r{amount}"
        now += wait_ms
        if what == "grant":
            of.send_entries(credit(f"c{number}", str(amount), user), timestamp=now)
        elif what == "take":
            of.send_entries(credit(f"c{number}", f"-{amount}", user), timestamp=now)
        elif what == "reserve":
            of.send(reservation(some, None, user, credits=str(amount), ttl_seconds=3600), timestamp=now)
        elif what == "release":
            of.send(release(some, user), timestamp=now)
        elif what in ("burn", "fail", "settle", "more"):
            data: dict[str, Any] = {"retail_tokens": amount}
            data |= {"status": "error"} if what == "fail" else {}
            data |= {"reservation_id": some, "more": what == "more"} if what in ("settle", "more") else {}
            of.send(usage(f"e{number}", user, **data), timestamp=now)
        elif what == "tick":
            of.stage.tick(now)
        else:
            of.write(now)
            if what == "restart":
                of = of.restarted()
    of.write(now)
    for balance in of.balances.values():
        n = {name: _nano(balance[name]) for name in ("granted", "burned", "expired", "available", "reserved")}
        assert n["granted"] == n["burned"] + n["expired"] + n["available"] + n["reserved"], balance


def _nano(text: str) -> int:
    return -parse_amount(text[1:]) if text.startswith("-") else parse_amount(text)
