"""Slices and single reservations of a client, against an owner that keeps one limit exactly."""

import asyncio
import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from decimal import Decimal
from typing import Any

import pytest
from tests.support.limits_owner import Owner, Process, limits_of
from tests.waiting import eventually

from tollgate.schemas.amounts import parse_usd
from tollgate.sdk.errors import BlockedError, UndecidedError
from tollgate.sdk.holding import AsyncHolding, Holding
from tollgate.sdk.limits import Limits

CENT = parse_usd("0.01")


def reserve(limits: Limits, usd: str | Decimal = "0.01", **given: Any) -> Holding:
    options = {"ttl": 60, "id": None, "timeout": 5.0, "slice": True} | given
    names = options.get("names", {"model": "gpt-4o"})
    return limits.reserve(
        limits.wanted("u1", usd, None, options["ttl"], options["id"], options["timeout"], options["slice"], names)
    )


def call(limits: Limits, usd: str = "0.01", cost: str | None = None, **given: Any) -> None:
    with reserve(limits, usd, **given) as held:
        held.settle(usage={}, cost_usd=cost or usd)


@pytest.fixture
def owner() -> Owner:
    return Owner("10")


@pytest.fixture
def client(owner: Owner) -> Iterator[tuple[Limits, Process]]:
    with limits_of(owner) as made:
        yield made


def at(limits: Limits, owner: Owner, seconds: float) -> None:
    """From now on it is so late here and at the owner."""
    owner.seconds = seconds
    limits.slices._clock = lambda: seconds


def test_a_single_reservation_is_settled_by_its_call(client: tuple[Limits, Process], owner: Owner) -> None:
    limits, process = client
    with reserve(limits, "0.10", slice=False, id="r-1") as held:
        assert (held.id, held.granted, owner.reserved) == ("r-1", True, 10 * CENT)
        assert held.settle(usage={"output_tokens": 7}, cost_usd="0.04", id="e-1") == "e-1"
        with pytest.raises(TypeError, match="settled already: say more=True"):
            held.settle(usage={})
    process.settled()
    assert process.recorded == [
        {"user": "u1", "usage": {"output_tokens": 7}, "model": "gpt-4o", "cost_usd": "0.04", "reservation_id": "r-1"}
    ]
    assert (owner.spent, owner.reserved, owner.ended) == (4 * CENT, 0, [("r-1", "settled")])


def test_leaving_without_settling_releases(client: tuple[Limits, Process], owner: Owner) -> None:
    limits, process = client
    with pytest.raises(ZeroDivisionError), reserve(limits, slice=False, id="r-1"):
        raise ZeroDivisionError
    with reserve(limits, "0.10", slice=False, id="r-2") as held:
        held.settle(usage={}, cost_usd="0.02", more=True)
        process.settled()
        assert owner.reserved == 8 * CENT
    process.settled()
    assert (owner.reserved, owner.ended) == (0, [("r-1", "released"), ("r-2", "released")])


@pytest.mark.parametrize("in_slices", [False, True])
def test_what_does_not_fit_is_denied(client: tuple[Limits, Process], owner: Owner, in_slices: bool) -> None:
    limits, _ = client
    with pytest.raises(BlockedError) as caught, reserve(limits, "10.01", slice=in_slices):
        pytest.fail("the call went ahead")
    assert (caught.value.http_status, caught.value.error, caught.value.available) == (429, "usage_limit_exceeded", "10")
    call(limits, "10", slice=in_slices)


def test_a_call_now_and_then_reserves_what_it_needs_and_nothing_more(
    client: tuple[Limits, Process], owner: Owner
) -> None:
    limits, process = client
    for seconds in (0, 10, 20):
        at(limits, owner, seconds)
        call(limits)
    process.settled()
    assert [one["amount_usd"] for one in owner.asked] == ["0.01"] * 3
    # The call that used it up has ended it, without a record more.
    assert [end for _, end in owner.ended] == ["settled"] * 3
    assert all("more" not in event for event in process.recorded)


def test_calls_of_a_busy_user_ask_ever_less(client: tuple[Limits, Process], owner: Owner) -> None:
    limits, process = client
    at(limits, owner, 0)
    for _ in range(500):
        call(limits, "0.001")
    process.settled()
    # 1, 2, 4, 8, … calls.
    assert len(owner.asked) < 20
    sizes = [parse_usd(one["amount_usd"]) for one in owner.asked]
    assert sizes == sorted(sizes)
    assert owner.spent == 50 * CENT
    assert {one["model"] for one in owner.asked} == {"gpt-4o"}


def test_a_user_who_calls_less_often_gets_smaller_slices(client: tuple[Limits, Process], owner: Owner) -> None:
    limits, process = client
    at(limits, owner, 0)
    for _ in range(100):
        call(limits, "0.001")
    largest = max(parse_usd(one["amount_usd"]) for one in owner.asked)
    for seconds in range(20, 300, 20):
        at(limits, owner, seconds)
        call(limits, "0.001")
    process.settled()
    assert largest >= 16 * parse_usd("0.001")
    assert owner.asked[-1]["amount_usd"] == "0.001"


def test_near_the_limit_slices_shrink_down_to_the_single_call(client: tuple[Limits, Process], owner: Owner) -> None:
    limits, process = client
    at(limits, owner, 0)
    for _ in range(1000):
        call(limits, "0.01")
    with pytest.raises(BlockedError):
        call(limits, "0.01")
    process.settled()
    assert (owner.spent, owner.reserved) == (1000 * CENT, 0)


def test_what_a_call_does_not_use_is_drawn_by_the_next(client: tuple[Limits, Process], owner: Owner) -> None:
    limits, process = client
    at(limits, owner, 0)
    for _ in range(20):
        call(limits)
    asked = len(owner.asked)
    for _ in range(50):
        with reserve(limits):
            pass
    assert len(owner.asked) <= asked + 1
    process.settled()
    assert owner.spent == 20 * CENT


def test_in_the_last_three_quarters_of_its_life_nobody_draws_on_a_slice(
    client: tuple[Limits, Process], owner: Owner
) -> None:
    limits, process = client
    at(limits, owner, 0)
    for _ in range(20):
        call(limits)
    process.settled()
    asked = len(owner.asked)
    at(limits, owner, 14.999)
    with reserve(limits) as first:
        assert len(owner.asked) == asked
        at(limits, owner, 15)
        with reserve(limits) as second:
            assert first.id != second.id
            assert len(owner.asked) > asked


def test_a_slice_that_nobody_uses_is_given_back(client: tuple[Limits, Process], owner: Owner) -> None:
    limits, process = client
    at(limits, owner, 0)
    for _ in range(20):
        call(limits)
    process.settled()
    assert owner.reserved > 0
    at(limits, owner, 2.001)
    waited = threading.Event()
    for _ in range(100):
        if not owner.open:
            break
        waited.wait(0.05)
    assert (owner.open, owner.spent) == ({}, 20 * CENT)


def test_a_slice_ends_with_its_last_call_and_not_before(client: tuple[Limits, Process], owner: Owner) -> None:
    limits, process = client
    at(limits, owner, 0)
    for _ in range(20):
        call(limits)
    first, second = reserve(limits), reserve(limits)
    with first, second:
        assert first.id == second.id
        process.settled()
        held = owner.open[first.id]
        process.submit(limits.slices.close()).result(10)
        process.settled()
        # Two calls are open, so all of it stays reserved.
        assert owner.open == {first.id: held}
        first.settle(usage={}, cost_usd="0.01")
        process.settled()
        assert first.id in owner.open
        second.settle(usage={}, cost_usd="0.01")
    process.settled()
    assert owner.open == {}
    assert owner.ended[-1] == (first.id, "settled")
    assert [event.get("more") for event in process.recorded[-2:]] == [True, None]


def test_closing_gives_back_every_slice(owner: Owner) -> None:
    with limits_of(owner) as (limits, process):
        at(limits, owner, 0)
        for _ in range(20):
            call(limits)
        process.settled()
        assert owner.reserved > 0
    assert (owner.reserved, owner.spent) == (0, 20 * CENT)


@pytest.mark.parametrize("in_slices", [False, True])
def test_without_an_owner_calls_go_ahead_unless_they_fail_closed(in_slices: bool) -> None:
    owner = Owner("10")
    owner.is_away = True
    with limits_of(owner) as (limits, process):
        with reserve(limits, slice=in_slices) as held:
            assert not held.granted
            held.settle(usage={"output_tokens": 1}, cost_usd="0.01")
        process.settled()
        assert owner.spent == CENT
        assert ("reservation_id" in process.recorded[0]) is not in_slices
        # When the owner is back, so are reservations.
        owner.is_away = False
        with reserve(limits, slice=in_slices) as held:
            assert held.granted
    owner.is_away = True
    with (
        limits_of(owner, when_unknown="closed") as (limits, _),
        pytest.raises(UndecidedError, match="the reservation cannot be made: nobody is there"),
    ):
        reserve(limits, slice=in_slices).__enter__()


@pytest.mark.parametrize("in_slices", [False, True])
def test_an_answer_that_comes_too_late_is_released(in_slices: bool) -> None:
    owner = Owner("10")
    owner.answers.clear()
    with limits_of(owner, when_unknown="closed") as (limits, process):
        limits.slices._ask_seconds_max = 0.1
        with pytest.raises(UndecidedError) as caught:
            reserve(limits, slice=in_slices, timeout=0.05 if not in_slices else 1).__enter__()
        assert (caught.value.http_status, caught.value.error) == (503, "limits_unknown")
        process._loop.call_soon_threadsafe(owner.answers.set)
        process.settled()
        # It was granted all the same.
        assert owner.ended == [(owner.asked[0]["id"], "released")]
        with reserve(limits, slice=in_slices) as held:
            assert held.granted
            process.settled()
            assert list(owner.open) == [held.id]


async def test_the_awaiting_face_leaves_nothing_reserved_when_it_is_cancelled() -> None:
    owner = Owner("10")
    owner.answers.clear()
    with limits_of(owner) as (limits, process):
        held: AsyncHolding = limits.reserve_async(limits.wanted("u1", "0.10", None, 60, "r-1", 5.0, False, {}))
        task = asyncio.create_task(held.__aenter__())

        async def asked() -> bool:
            return bool(owner.asked)

        await eventually(asked)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        process._loop.call_soon_threadsafe(owner.answers.set)
        await asyncio.to_thread(process.settled)
        assert (owner.open, owner.ended) == ({}, [("r-1", "released")])
        async with limits.reserve_async(limits.wanted("u1", "0.10", None, 60, None, 5.0, True, {})) as held:
            assert held.granted
            assert await held.settle(usage={}, cost_usd="0.10") == "e1"
        await asyncio.to_thread(process.settled)
        assert (owner.open, owner.spent) == ({}, 10 * CENT)


def interrupt(process: Process) -> None:
    """End what runs on the client's loop, as its end does."""

    def cancel() -> None:
        for task in asyncio.all_tasks(process._loop):
            task.cancel()

    process._loop.call_soon_threadsafe(cancel)


@pytest.mark.parametrize("in_slices", [False, True])
async def test_a_client_that_ends_while_a_call_waits_leaves_it_undecided(in_slices: bool) -> None:
    owner = Owner("10")
    owner.answers.clear()

    async def asked(count: int) -> bool:
        return len(owner.asked) == count

    with limits_of(owner) as (limits, process):
        wanted = limits.wanted("u1", "0.10", None, 60, None, 5.0, in_slices, {})
        awaiting, waiting = limits.reserve_async(wanted), limits.reserve(wanted)
        entering = asyncio.create_task(awaiting.__aenter__())
        await eventually(lambda: asked(1))
        interrupt(process)
        async with asyncio.timeout(3):
            assert not (await entering).granted
        thread = asyncio.create_task(asyncio.to_thread(waiting.__enter__))
        await eventually(lambda: asked(2))
        interrupt(process)
        async with asyncio.timeout(3):
            assert not (await thread).granted
        process._loop.call_soon_threadsafe(owner.answers.set)
        await asyncio.to_thread(process.settled)
        assert owner.open == {}
        # What was given back is not settled any more, but its usage counts.
        await awaiting.settle(usage={}, cost_usd="0.01")
        waiting.settle(usage={}, cost_usd="0.01")
        assert ["reservation_id" in event for event in process.recorded] == [False, False]
        await asyncio.to_thread(process.settled)
        assert owner.spent == 2 * CENT


async def test_a_call_that_fails_closed_is_told_so_when_its_client_ends() -> None:
    owner = Owner("10")
    owner.answers.clear()
    with limits_of(owner, when_unknown="closed") as (limits, process):
        waiting = limits.reserve_async(limits.wanted("u1", "0.10", None, 60, None, 5.0, False, {}))
        entering = asyncio.create_task(waiting.__aenter__())

        async def asked() -> bool:
            return bool(owner.asked)

        await eventually(asked)
        interrupt(process)
        with pytest.raises(UndecidedError, match="the client was closed, or its process forked, meanwhile"):
            await entering
        process._loop.call_soon_threadsafe(owner.answers.set)


@pytest.mark.parametrize("is_decided_before", [False, True])
@pytest.mark.parametrize("in_slices", [False, True])
def test_a_caller_that_gives_up_just_when_it_is_granted_leaves_nothing_reserved(
    client: tuple[Limits, Process], owner: Owner, in_slices: bool, is_decided_before: bool
) -> None:
    limits, process = client
    held = reserve(limits, "0.10", slice=in_slices)
    never: Future[None] = Future()
    if is_decided_before:
        process.submit(held._begin()).result(10)
        held._abandon(never)
    else:
        held._abandon(never)
        process.submit(held._begin()).result(10)
    process.settled()
    assert (owner.open, len(owner.asked), len(owner.ended)) == ({}, 1, 1)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"usd": None}, 'say how much to set aside: usd="0.10"'),
        ({"usd": 0.1}, "usd must be dollars as a decimal in text.*not a float"),
        ({"usd": "-1"}, "usd must be dollars"),
        ({"usd": "lots"}, "usd must be dollars"),
        ({"credits": "many"}, "credits must be a decimal in text"),
        ({"ttl": 0}, "ttl_seconds must be whole seconds from 1 to 3600; not 0"),
        ({"ttl": 3601}, "from 1 to 3600"),
        ({"ttl": 1.5}, "from 1 to 3600"),
        ({"id": "r-1", "slice": True}, "leave it out, or slice=True"),
        ({"names": {"modle": "x"}}, "'modle' is no dimension of a call; these are: user, org"),
        ({"names": {"model": 4}}, "model must be text, not int"),
    ],
)
def test_wrong_use_is_told_at_the_call(client: tuple[Limits, Process], given: dict[str, Any], told: str) -> None:
    limits, _ = client
    every = {"usd": "0.10", "credits": None, "ttl": 60, "id": None, "slice": False, "names": {}} | given
    with pytest.raises(TypeError, match=told):
        limits.wanted(
            "u1", every["usd"], every["credits"], every["ttl"], every["id"], 5.0, every["slice"], every["names"]
        )


def test_threads_of_several_processes_never_pass_the_limit_and_use_nearly_all_of_it() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    owner = Owner("10")
    made = [0] * 4
    with limits_of(owner) as (first, process):
        # Two clients on the loop of one, so that the owner is one.
        from tests.support.limits_owner import NoFeed

        from tollgate.sdk.knowledge import Knowledge

        clients = [first, Limits(process, Knowledge(), NoFeed(), owner)]

        def work(number: int) -> None:
            dice = random.Random(f"{seed} {number}")
            denied = 0
            while denied < 3:
                mills = dice.randint(1, 50)
                try:
                    with reserve(clients[number % 2], f"0.{mills:03d}") as held:
                        held.settle(usage={}, cost_usd=f"0.{dice.randint(1, mills):03d}")
                        made[number] += 1
                except BlockedError:
                    denied += 1

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        process.settled()
        assert not owner.spent + owner.reserved > owner.limit
        assert owner.spent >= owner.limit * 95 // 100
        assert len(owner.asked) < sum(made) / 2
        process.submit(clients[1].close()).result(10)
