"""Faults of processes: killed, frozen, added, removed, and stopped at a chosen step of their work."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal

from tests.chaos.roles import RoleProcess
from tests.chaos.schedule import Deed
from tests.chaos.victim import Victim, becomes, is_ready
from tests.chaos.world import WORKERS_MAX, NotMetError, World

from tollgate.ledger.faults import told

Action = Literal["kill", "stop"]
Fault = Callable[[World, Deed], Awaitable[None]]

# Longer than a member's session in the group, which is 10 s.
_ZOMBIE_SECONDS = (11.5, 14)
_SHORT_SECONDS = (0.2, 4)
# A worker passes every step of a transaction within a second, and of an acquisition when it starts.
_POINT_SECONDS_MAX = 60


async def kill_worker(world: World, deed: Deed) -> None:
    """kill -9."""
    await _kill(world, world.a_worker(deed))


async def kill_worker_twice(world: World, deed: Deed) -> None:
    """kill -9, and again while it recovers."""
    worker = world.a_worker(deed)
    async with worker.lock:
        world.say(f"  kill {worker.name}, and again while it recovers")
        worker.kill()
        await becomes(lambda: worker.alive, 10)
        # Python needs about a second to import, then Kafka is asked; recovery is over about two seconds later.
        await asyncio.sleep(deed.between(1, 3.5))
        if worker.alive:
            worker.kill()


async def kill_worker_beside_a_newcomer(world: World, deed: Deed) -> None:
    """Another worker joins, and one is killed while the partitions move."""
    idle = [worker for worker in world.workers if not worker.wanted]
    if idle:
        world.say(f"  add {idle[0].name}")
        idle[0].start()
        await asyncio.sleep(deed.between(1, 5))
    await _kill(world, world.a_worker(deed))


async def _kill(world: World, victim: Victim) -> None:
    async with victim.lock:
        if not victim.alive:
            raise NotMetError(f"{victim.name} does not run")
        world.say(f"  kill {victim.name}")
        victim.kill()
        await becomes(lambda: victim.alive, 10)


async def scale_workers(world: World, deed: Deed) -> None:
    """Add or remove workers, in good order, to another number than there are."""
    employed = len(world.employed)
    wanted = [n for n in range(1, WORKERS_MAX + 1) if n != employed][deed.among(WORKERS_MAX - 1)]
    world.say(f"  {employed} → {wanted} workers")
    for worker in world.workers:
        if len(world.employed) < wanted and not worker.wanted:
            worker.start()
        elif len(world.employed) > wanted and worker.wanted:
            async with worker.lock:
                status = await asyncio.to_thread(worker.stop)
                # 70 and a kill: something else went wrong at that moment, and it recovers.
                # While it starts it does not listen to signals yet, and SIGTERM ends it as it ends any process.
                assert status in (0, 70, -9, -15), f"{worker.name} ended with {status}: {worker.last_words()}"


async def change_lanes(world: World, deed: Deed) -> None:
    """All workers are killed and come back with other lanes, which the group takes in when it gave the old ones up."""
    lanes = (2, 3, 5, 8)[deed.among(4)]
    async with contextlib.AsyncExitStack() as locks:
        for worker in world.workers:
            await locks.enter_async_context(worker.lock)
        world.say(f"  kill all workers; they come back with {lanes} lanes")
        for worker in world.workers:
            worker.held, worker.lanes = True, lanes
        for worker in world.employed:
            if worker.alive:
                worker.kill()
        for worker in world.workers:
            worker.held = False


def frozen(choose: Callable[[World, Deed], Victim], seconds: tuple[float, float]) -> Fault:
    """SIGSTOP, and SIGCONT after a while."""

    async def freeze(world: World, deed: Deed) -> None:
        victim = choose(world, deed)
        async with victim.lock:
            if not await becomes(lambda: victim.alive, 20):
                raise NotMetError(f"{victim.name} does not run")
            duration = deed.between(*seconds)
            world.say(f"  freeze {victim.name} for {duration:.1f} s")
            victim.freeze()
            try:
                await asyncio.sleep(duration)
            finally:
                victim.thaw()

    return freeze


def killed(choose: Callable[[World, Deed], Victim]) -> Fault:
    """kill -9 of something else than a worker."""

    async def kill(world: World, deed: Deed) -> None:
        await _kill(world, choose(world, deed))

    return kill


def at_point(point: str, action: Action) -> Fault:
    """The worker kills or stops itself at that step; one that is stopped goes on as a zombie."""

    async def reach(world: World, deed: Deed) -> None:
        worker = world.a_worker(deed)
        async with worker.lock:
            number = 1 + int(deed.amount * (4 if point.startswith("transaction") else 2))
            world.say(f"  {worker.name} is to {action} itself at {point}, time {number}")
            worker.held = True
            try:
                if worker.alive:
                    worker.kill()
                start_towards(worker, point, number, action)
                if point.startswith("park"):
                    await _rebalance_beside(world, worker)
                reached = await comes_to(worker, point, number, action, _POINT_SECONDS_MAX)
                if reached and action == "stop":
                    await asyncio.sleep(deed.between(*_ZOMBIE_SECONDS) if deed.choice < 0.5 else deed.between(0.5, 4))
            finally:
                if worker.alive:
                    worker.thaw()
                worker.held = False
            if not reached:
                # It must not come to it in the middle of another round.
                ended = "" if worker.alive else f" but ended elsewhere: {worker.last_words()[-500:]}"
                worker.kill()
                raise NotMetError(f"{worker.name} did not come to {point} {number} times{ended}")

    return reach


def start_towards(worker: RoleProcess, point: str, number: int, action: Action) -> None:
    """Start it so that it kills or stops itself when it is at the point for that time."""
    worker.fault_points = f"{point}={number}:{action}"
    worker.start()


async def comes_to(worker: RoleProcess, point: str, number: int, action: Action, seconds: float) -> bool:
    """Whether it killed or stopped itself there within the time. False at once when it ends anywhere else."""
    line = told(point, number, action, worker.pid)

    def is_over() -> bool:
        return not worker.alive or (worker.frozen and worker.has_said(line))

    over = await becomes(is_over, seconds)
    return over and worker.has_said(line)


async def _rebalance_beside(world: World, worker: RoleProcess) -> None:
    """Make the group give partitions of the worker away: another one joins, or one that runs is left for dead."""
    if not await is_ready(worker, _POINT_SECONDS_MAX):
        return
    others = [other for other in world.workers if other is not worker and not other.lock.locked()]
    idle = [other for other in others if not other.wanted]
    if idle:
        world.say(f"  add {idle[0].name}")
        idle[0].start()
    elif others:
        world.say(f"  remove {others[0].name}")
        async with others[0].lock:
            await asyncio.to_thread(others[0].stop)
