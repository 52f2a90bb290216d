"""Reservations through the first stage: granted, denied, settled, released, expired, and after a restart."""

import json
from typing import Any

import pytest
from tests.support.accounts import STRANGER, USER, USERS, Bench, letters, policy, release, reservation, usage, values
from tests.support.cores import CORES
from tests.support.usage import TIME_MS

from tollgate.domain.reservations import Blocked
from tollgate.domain.stops import Stop
from tollgate.ledger import accounts
from tollgate.ledger.core import Core
from tollgate.schemas.topics import Topic

A_DOLLAR = {"id": "b1", "scope": f"user/{USER}", "limit": "1"}
SCOPE = f"user/{USER}"


@pytest.fixture(params=CORES)
def core(request: pytest.FixtureRequest) -> Core:
    found: Core = request.param
    return found


def bench(core: Core, *budgets: dict[str, Any], **others: Any) -> Bench:
    return Bench(policy(*budgets, **others), core)


def reserved(of: Bench, scope: str = SCOPE) -> tuple[int, int, int]:
    held = of.stage.accounts.reserved(scope)
    return held.picousd, held.credits_nano, held.count


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_of_a_thousand_reservations_of_a_tenth_exactly_ten_fit_a_dollar(core: Core, batch: int) -> None:
    of = bench(core, A_DOLLAR)
    ids = [f"r{n}" for n in range(1000)]
    for first in range(0, 1000, batch):
        of.send(*(reservation(name) for name in ids[first : first + batch]))
        of.write()
        if first < 20 or first == 490:
            of = of.restarted()
    assert of.granted() == ids[:10]
    assert len(of.decisions) == 1000
    denied = of.decisions[10]
    assert (denied["http_status"], denied["error"], denied["scope"]) == (429, "usage_limit_exceeded", SCOPE)
    assert (denied["limit"], denied["spent"], denied["reserved"], denied["available"]) == ("1", "0", "1", "0")
    assert reserved(of) == (10**12, 0, 10)


def test_of_reservations_that_are_repeated_after_a_restart_each_has_one_answer(core: Core) -> None:
    of = bench(core, A_DOLLAR)
    of.send(*(reservation(f"r{n}") for n in range(12)))
    first = of.write()
    of = of.restarted()
    of.send(*(reservation(f"r{n}") for n in range(12)))
    again = of.write()
    partition = next(place[1] for place in first.records if place[0] is Topic.DECISIONS)
    before, after = (outbox.records[Topic.DECISIONS, partition] for outbox in (first, again))
    assert list(after[:10]) == list(before[:10])
    assert [json.loads(value or b"")["error"] for _, value, _ in after[10:]] == ["reservation_ended"] * 2
    assert reserved(of) == (10**12, 0, 10)


def test_what_is_spent_before_a_reservation_in_the_same_batch_is_counted(core: Core) -> None:
    of = bench(core, A_DOLLAR)
    of.send(usage("e1", cost_usd="0.85"), reservation("r1"), usage("e2", cost_usd="0.05"), reservation("r2"))
    of.write()
    assert of.granted() == ["r1"]
    assert (of.decisions[1]["spent"], of.decisions[1]["reserved"]) == ("0.9", "0.1")


def test_usage_of_the_same_source_settles_and_frees_the_rest(core: Core) -> None:
    of = bench(core, A_DOLLAR)
    of.send(reservation("r1", "1.00"), reservation("r2", "0.70"))
    of.send(usage("e1", cost_usd="0.30", reservation_id="r1"), reservation("r3", "0.70"))
    of.write()
    assert of.granted() == ["r1", "r3"]
    assert reserved(of) == (7 * 10**11, 0, 1)


def test_usage_of_another_source_settles_nothing(core: Core) -> None:
    of = bench(core, A_DOLLAR)
    of.send(reservation("r1", "1.00"), usage("e1", reservation_id="r1") | {"source": "other"})
    of.write()
    assert reserved(of) == (10**12, 0, 1)


def test_usage_that_says_more_takes_its_cost_and_leaves_the_reservation_open(core: Core) -> None:
    of = bench(core, A_DOLLAR)
    of.send(reservation("r1", "0.50"), usage("e1", cost_usd="0.20", reservation_id="r1", more=True))
    assert reserved(of) == (3 * 10**11, 0, 1)
    of.write()
    of = of.restarted()
    of.send(usage("e2", cost_usd="0.40", reservation_id="r1", more=True))
    assert reserved(of) == (0, 0, 1)
    of.send(usage("e3", cost_usd="0.10", reservation_id="r1"))
    assert reserved(of) == (0, 0, 0)


def test_settled_twice_is_once_and_released_twice_is_once(core: Core) -> None:
    of = bench(core, A_DOLLAR)
    of.send(reservation("r1"), reservation("r2"), reservation("r3"))
    of.send(usage("e1", cost_usd="0.05", reservation_id="r1"), usage("e1", cost_usd="0.05", reservation_id="r1"))
    of.send(release("r2"), release("r2"))
    assert reserved(of) == (10**11, 0, 1)
    of.write()
    assert of.counters.duplicates == 2
    assert of.rows.keys() & {f"h|{USER}|tests|r{n}" for n in (1, 2, 3)} == {f"h|{USER}|tests|r3"}


def test_a_failed_call_that_is_not_billed_releases(core: Core) -> None:
    of = bench(core, A_DOLLAR)
    of.send(reservation("r1"), usage("e1", reservation_id="r1", status="error"))
    assert reserved(of) == (0, 0, 0)


@pytest.mark.parametrize("restart", [False, True])
def test_usage_that_is_read_before_its_reservation_settles_it(core: Core, restart: bool) -> None:
    of = bench(core, A_DOLLAR)
    of.send(usage("e1", cost_usd="0.30", reservation_id="r1"))
    of.send(usage("e2", cost_usd="0.20", reservation_id="r2", more=True), release("r3"))
    of.write()
    if restart:
        of = of.restarted()
    of.send(reservation("r1", "0.50"), reservation("r2", "0.50"), reservation("r3", "0.50"))
    of.write()
    assert of.granted() == ["r1", "r2", "r3"]
    assert reserved(of) == (3 * 10**11, 0, 1)
    assert [key for key in of.rows if key.startswith("h|")] == [f"h|{USER}|tests|r2"]


def test_usage_of_an_unread_reservation_is_forgotten_after_an_hour(core: Core) -> None:
    of = bench(core)
    of.send(usage("e1", reservation_id="r1"))
    of.write()
    of.stage.tick(TIME_MS)
    of.stage.tick(TIME_MS + 3_600_000 - 1)
    of.write()
    assert f"h|{USER}|tests|r1" in of.rows
    of.stage.tick(TIME_MS + 3_600_000)
    of.write()
    assert f"h|{USER}|tests|r1" not in of.rows


def test_they_end_while_nothing_but_usage_without_reservations_arrives(core: Core) -> None:
    of = bench(core, A_DOLLAR)
    of.send(reservation("r1", "1.00"))
    for second in range(1, 61):
        of.send(usage(f"e{second}", user=STRANGER), timestamp=TIME_MS + second * 1000)
        of.stage.tick(TIME_MS + second * 1000)
        assert reserved(of)[2] == (1 if second < 60 else 0)
    of.write()
    assert "h|" not in "".join(of.rows)


@pytest.mark.parametrize("restart", [False, True])
def test_a_hundred_that_are_never_settled_hold_nothing_after_their_time(core: Core, restart: bool) -> None:
    of = bench(core, A_DOLLAR)
    of.send(*(reservation(f"r{n}", "0.01") for n in range(100)))
    of.write()
    assert of.flags[SCOPE]["reserved"] == "1"
    assert of.flags[SCOPE]["can_exceed_by"] == "0"
    if restart:
        of = of.restarted()
    of.stage.tick(TIME_MS)
    of.stage.tick(TIME_MS + 59_999)
    assert reserved(of) == (10**12, 0, 100)
    of.stage.tick(TIME_MS + 60_000)
    assert reserved(of) == (0, 0, 0)
    assert of.stage.pending()
    of.write()
    assert "reserved" not in of.flags[SCOPE]
    assert not [key for key in of.rows if key.startswith("h|")]
    of.send(reservation("r-next", "1.00"), timestamp=TIME_MS + 60_000)
    of.write()
    assert of.granted()[-1] == "r-next"


def test_the_log_ends_reservations_too_and_a_backlog_is_decided_by_its_own_time(core: Core) -> None:
    of = bench(core, A_DOLLAR)
    of.send(reservation("r1", "1.00"))
    of.write()
    # Hours later by the worker's clock, in the middle of a backlog.
    of.stage.tick(TIME_MS + 10_000_000)
    of.send(reservation("r2"), timestamp=TIME_MS + 59_999)
    of.send(reservation("r3"), timestamp=TIME_MS + 60_000)
    of.write()
    assert of.granted() == ["r1", "r3"]


def test_usage_after_the_end_is_counted_like_any_other(core: Core) -> None:
    of = bench(core, A_DOLLAR)
    of.send(reservation("r1"))
    of.send(usage("e1", cost_usd="0.05", reservation_id="r1"), timestamp=TIME_MS + 60_000)
    outbox = of.write()
    assert [value["cost_usd"] for value in values(outbox, Topic.PRICED)] == ["0.05"]
    assert not [key for key in of.rows if key.startswith("h|")]


def test_the_same_id_with_another_amount_is_a_conflict_that_is_answered(core: Core) -> None:
    of = bench(core, A_DOLLAR)
    of.send(reservation("r1"), reservation("r1", "0.20"))
    outbox = of.write()
    assert [reason for reason, _ in letters(outbox)] == ["conflict"]
    granted, refused = of.decisions
    assert granted["granted"]
    assert (refused["granted"], refused["http_status"], refused["error"]) == (False, 409, "reservation_conflict")
    assert reserved(of) == (10**11, 0, 1)


def test_a_bad_reservation_is_a_dead_letter_and_changes_nothing(core: Core) -> None:
    of = bench(core, A_DOLLAR)
    of.send(reservation("r1", ttl_seconds=0), reservation("r2", None, credits=1.5))
    outbox = of.write()
    assert letters(outbox) == [
        ("invalid", "data.ttl_seconds: must be at least 1"),
        ("wrong_type", "data.credits: must be an integer or a decimal string"),
    ]
    assert not of.decisions
    assert reserved(of) == (0, 0, 0)


def test_a_reservation_in_another_users_partition_is_forwarded(core: Core) -> None:
    of = bench(core)
    of.send(reservation("r1", user=STRANGER))
    outbox = of.write()
    assert not of.decisions
    assert [value["id"] for value in values(outbox, Topic.USAGE, 3)] == ["r1"]


def test_the_answer_goes_where_the_requester_reads(core: Core) -> None:
    of = bench(core)
    of.send(reservation("r1", reply_to="chat-7", reply_partition=11), reservation("r2", reply_to=None))
    outbox = of.write()
    where = {
        json.loads(value or b"")["reservation_id"]: (partition, key)
        for (topic, partition), records in outbox.records.items()
        if topic is Topic.DECISIONS
        for key, value, _ in records
    }
    assert where["r1"] == (3, b"chat-7")
    assert where["r2"][1] == b"tests"


def test_whoever_repeats_a_request_reads_the_same_answer_elsewhere(core: Core) -> None:
    of = bench(core)
    of.send(reservation("r1", reply_to="chat-7", reply_partition=11))
    first = of.write()
    of.send(reservation("r1", reply_to="chat-8", reply_partition=2))
    again = of.write()
    ((key, value, _),) = again.records[Topic.DECISIONS, 2]
    assert (key, value) == (b"chat-8", first.records[Topic.DECISIONS, 3][0][1])
    assert not again.records.get((Topic.DEAD_LETTERS, 0))


def test_the_ten_thousand_and_first_open_reservation_is_denied() -> None:
    of = bench("python")
    of.send(*(reservation(f"r{n}", "0") for n in range(10_001)))
    of.write()
    assert len(of.granted()) == 10_000
    assert of.decisions[-1]["error"] == "too_many_reservations"
    assert of.decisions[-1]["message"] == (
        "The user has 10,000 open reservations: settle or release some, or let them expire."
    )


def test_a_full_partition_is_not_laid_at_the_door_of_one_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "HELD_MAX", 2)
    of = bench("python")
    of.send(*(reservation(f"r{n}", "0", user=user) for n, user in enumerate(USERS[:3])))
    of.write()
    assert of.granted() == ["r0", "r1"]
    assert (of.decisions[-1]["http_status"], of.decisions[-1]["error"]) == (429, "too_many_reservations")
    assert of.decisions[-1]["message"] == (
        "The user's partition has 50,000 open reservations: settle or release some, or let them expire."
    )


def test_a_stop_by_hand_and_a_blocked_organisation_are_in_the_way(core: Core) -> None:
    blocked = {"org/acme": Blocked("org/acme", "usage_limit_exceeded", "b2", "5", "usd", "6", TIME_MS + 1000)}
    of = bench(core, shared_flags=blocked.get)
    of.send(reservation("r1", org="acme"), reservation("r2", org="other"))
    of.send(reservation("r3", org="acme"), timestamp=TIME_MS + 1000)
    of.write()
    assert of.granted() == ["r2", "r3"]
    assert (of.decisions[0]["http_status"], of.decisions[0]["scope"], of.decisions[0]["budget"]) == (
        429,
        "org/acme",
        "b2",
    )
    stopped = bench(core, A_DOLLAR, stop=Stop(True, "ada", "invoice"))
    stopped.send(reservation("r1", "5.00"))
    stopped.write()
    assert (stopped.decisions[0]["http_status"], stopped.decisions[0]["error"]) == (503, "spending_stopped")


def test_names_with_bars_and_percent_signs_are_kept_apart(core: Core) -> None:
    of = bench(core)
    of.send(reservation("c|d") | {"source": "a|b"}, reservation("b|c|d") | {"source": "a"})
    of.send(reservation("d") | {"source": "a%7Cb%25|c"})
    of.write()
    assert reserved(of.restarted()) == (3 * 10**11, 0, 3)


def test_a_flag_says_what_is_reserved_and_ordinary_flags_say_nothing_of_it(core: Core) -> None:
    of = bench(core, A_DOLLAR)
    of.send(usage("e1", cost_usd="0.85"))
    of.write()
    assert of.flags[SCOPE]["state"] == "warning"
    assert not {"reserved", "can_exceed_by", "except", "incomplete"} & of.flags[SCOPE].keys()
    of.send(reservation("r1"))
    of.write()
    assert (of.flags[SCOPE]["reserved"], of.flags[SCOPE]["can_exceed_by"]) == ("0.1", "0")
    # Usage that nobody had reserved takes the room of the open reservation.
    of.send(usage("e2", cost_usd="0.12"))
    of.write()
    assert (of.flags[SCOPE]["reserved"], of.flags[SCOPE]["can_exceed_by"]) == ("0.1", "0.07")


@pytest.mark.parametrize("waits", [False, True])
def test_what_shared_scopes_spent_between_decisions_is_told_once_and_in_few_deltas(core: Core, waits: bool) -> None:
    of = bench(core, A_DOLLAR)
    for n in range(5):
        of.send(usage(f"e{n}", cost_usd="0.02", org="acme"), reservation(f"r{n}"))
        if waits and n == 2:
            # Another policy is in force from here on.
            of.stage.set_policy(policy(A_DOLLAR))
    outbox = of.write()
    told = [
        delta
        for (topic, _), records in outbox.records.items()
        if topic is Topic.DELTAS
        for _, value, _ in records
        for delta in json.loads(value or b"")[1]
        if delta[0] == "org/acme"
    ]
    assert sum(delta[3] for delta in told) == 10**11
    assert sum(delta[5] for delta in told) == 5
    assert len(told) == (2 if waits else 1)


def test_the_machines_time_ends_nothing_while_a_backlog_may_wait(core: Core) -> None:
    of = bench(core, A_DOLLAR)
    of.send(reservation("r1", "1.00"))
    of.write()
    of = of.restarted()
    late = TIME_MS + 90_000
    for now in (late, late + 250, late + 4_999):
        of.stage.tick(now)
        assert reserved(of) == (10**12, 0, 1)
    # It was read late, so there may be more.
    of.stage.bound_clock(late + 5_000)
    of.send(reservation("r2"), timestamp=TIME_MS + 1)
    of.write()
    assert of.granted() == ["r1"]
    for now in (late + 5_250, late + 5_500, late + 10_249):
        of.stage.tick(now)
        assert reserved(of) == (10**12, 0, 1)
    of.stage.tick(late + 10_250)
    assert reserved(of) == (0, 0, 0)


def test_live_traffic_that_stops_lets_reservations_end_with_the_next_tick(core: Core) -> None:
    of = bench(core, A_DOLLAR)
    of.stage.bound_clock(TIME_MS + 100)
    of.stage.tick(TIME_MS)
    of.send(reservation("r1", "1.00", ttl_seconds=1))
    of.stage.tick(TIME_MS + 999)
    of.stage.tick(TIME_MS + 1_000)
    assert reserved(of) == (0, 0, 0)
