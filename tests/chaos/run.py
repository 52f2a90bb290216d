"""A run: rounds of faults under load, each followed by a pause and a check that nothing was lost or counted twice."""

import asyncio
import contextlib
import json
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.chaos.catalogue import chosen, fault
from tests.chaos.checker import Checker
from tests.chaos.falsify import unseen_falsifications
from tests.chaos.load import Load, set_budget, set_plans, set_prices
from tests.chaos.process_faults import Fault
from tests.chaos.roles import environment
from tests.chaos.schedule import Deed, deeds
from tests.chaos.services import can_mount
from tests.chaos.truth import Truth
from tests.chaos.victim import kept
from tests.chaos.workload import Workload
from tests.chaos.world import READY_SECONDS_MAX, NotMetError, Plan, Say, World
from tests.support.slack_server import SlackServer, running
from tests.waiting import eventually

from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics
from tollgate.sinks.clickhouse import migrate

# How long the outputs may take to come to rest after the last event.
DRAIN_SECONDS_MAX = 180
# The most faults under way at the same time.
_AT_ONCE = 4


@dataclass(slots=True)
class Outcome:
    """What was done and what was found wrong."""

    rounds: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    not_met: list[str] = field(default_factory=list)
    records: int = 0
    sent_again: int = 0
    events: int = 0
    total_usd: str = "0"
    decisions: dict[str, int] = field(default_factory=dict)
    credit_entries: int = 0
    messages: int = 0
    seconds: float = 0
    wrong: list[str] = field(default_factory=list)


async def run(plan: Plan, directory: Path, say: Say) -> Outcome:
    """Carry out the plan. Stops at the first round with a difference."""
    started = time.monotonic()
    outcome = Outcome()
    async with running(SlackServer()) as slack:
        world = World(plan, directory, slack, say, own_disks=can_mount())
        try:
            with world.door:
                await world.start_services()
                async with kept(world.victims):
                    await _rounds(world, outcome, started)
                if plan.falsify and not outcome.wrong:
                    outcome.wrong += await unseen_falsifications(world, say)
        except Exception:  # noqa: BLE001 # a mistake of the harness too must leave the summary of what was done
            outcome.wrong.append(f"the run ended early: {traceback.format_exc()}")
        finally:
            outcome.wrong += await world.stop()
        outcome.messages = len(slack.messages)
    outcome.faults = dict(sorted(world.faults.items()))
    outcome.seconds = round(time.monotonic() - started, 1)
    return outcome


async def _rounds(world: World, outcome: Outcome, started: float) -> None:
    plan = world.plan
    await apply_topics(world.settings)
    await asyncio.to_thread(migrate, world.settings)
    await set_prices(world.settings)
    people = world.people
    for limit in people.rules.limits.values():
        await set_budget(world.settings, limit)
    await set_plans(world.settings, people.rules)
    workload = Workload(plan.seed, partitions=plan.usage_partitions, start=people.start)
    truth = Truth(plan.usage_partitions, workload.start, people.all_meters())
    load = Load(world.settings, workload.records(), truth, plan.events_per_second)
    checker = world.checker = Checker(world.settings, truth, people, world.stopped)
    for role in (world.workers[0], world.clickhouse_sink, world.alert_sink):
        role.start()
    todo = deeds(plan.seed, chosen(plan.kinds, disks=can_mount()))

    def is_over(under_way: int = 0) -> bool:
        minutes = (time.monotonic() - started) / 60
        return (plan.faults is not None and world.faults.total() + under_way >= plan.faults) or (
            plan.minutes is not None and minutes >= plan.minutes
        )

    for number in count(1):
        begun = time.monotonic()
        before = world.faults.total()
        load.start()
        await _strike(world, todo, is_over, outcome)
        if number == 1 and people.later:
            # So that every run has a meter that begins in mid window, whatever faults were drawn.
            await world.set_budget(people.later[0])
        rested = time.monotonic()
        # What a fault itself found wrong.
        wrong, outcome.wrong = outcome.wrong, []
        wrong += await world.heal()
        await load.stop()
        wrong += await check(world, checker)
        outcome.rounds, outcome.records, outcome.sent_again = number, load.sent, load.resent
        outcome.events, outcome.total_usd = len(truth.counted), str(truth.total)
        outcome.decisions = checker.accounts.answers()
        outcome.credit_entries = sum(own.entries for own in truth.accounts.credits.values())
        outcome.wrong += wrong
        faults = f"{world.faults.total() - before} faults, {world.faults.total()} in all"
        took = f"{rested - begun:.0f} s of faults, {time.monotonic() - rested:.0f} s of checks"
        verdict = f"{len(wrong)} DIFFERENCES" if wrong else "all equal"
        world.say(f"round {number}: {faults}; {outcome.events} events of {outcome.total_usd} USD; {took}: {verdict}")
        if wrong or is_over():
            return


async def _strike(world: World, todo: Iterator[Deed], is_over: Callable[[int], bool], outcome: Outcome) -> None:
    """One round of faults, a few of them at the same time."""
    slots = asyncio.Semaphore(_AT_ONCE)
    before = world.faults.total()
    under_way: set[asyncio.Task[None]] = set()

    async def do(deed: Deed) -> None:
        try:
            await bring_about(fault(deed.kind), world, deed, outcome)
        finally:
            slots.release()

    async with asyncio.TaskGroup() as group:
        while True:
            await slots.acquire()
            striking = len(under_way)
            enough = world.faults.total() + striking - before >= world.plan.faults_per_round
            if enough or outcome.wrong or is_over(striking):
                return
            deed = next(todo)
            await asyncio.sleep(deed.wait_seconds)
            if deed.calm:
                await world.counts(60)
            among = f"{len(world.employed)} worker{'s' if len(world.employed) > 1 else ''}"
            world.say(f"{deed.number} {deed.kind} ({among}{'' if deed.calm else ', at once'})")
            task = group.create_task(do(deed))
            under_way.add(task)
            task.add_done_callback(under_way.discard)


async def bring_about(strike: Fault, world: World, deed: Deed, outcome: Outcome) -> None:
    """Carry out one fault and count it; what is not as it must be meanwhile is wrong, and does not stop the others."""
    try:
        await strike(world, deed)
    except NotMetError as why:
        world.say(f"  {deed.number} {deed.kind}: not met: {why}")
        outcome.not_met.append(f"{deed.number} {deed.kind}: {why}")
    except Exception:  # noqa: BLE001 # whatever it is, it is told, and the round is checked all the same
        outcome.wrong.append(f"{deed.number} {deed.kind}: {traceback.format_exc()}")
        world.say(f"  {deed.number} {deed.kind}: WRONG")
    else:
        world.faults[deed.kind] += 1


async def check(world: World, checker: Checker) -> list[str]:
    """Everything, once the outputs are at rest."""
    settings = world.settings
    _, wrong = await asyncio.gather(checker.take_usage(), _verified(settings))
    # What was forwarded meanwhile is where it belongs by now.
    wrong += await checker.check_usage()
    wrong += await checker.check_written()
    wrong += await _settled(checker.check_standing)
    wrong += await _settled(lambda: asyncio.to_thread(checker.check_clickhouse))
    return wrong + await _settled(lambda: _alerts_and_messages(world, checker))


async def _alerts_and_messages(world: World, checker: Checker) -> list[str]:
    wrong = await checker.check_alerts([message.body for message in world.slack.messages])
    return wrong + await asyncio.to_thread(checker.check_clickhouse_alerts)


async def _settled(look: Callable[[], Awaitable[list[str]]]) -> list[str]:
    """What is still wrong when the time is over: alerts follow by design, numbers every five seconds."""
    wrong: list[str] = []

    async def equal() -> bool:
        wrong[:] = await look()
        return not wrong

    with contextlib.suppress(AssertionError):
        await eventually(equal, READY_SECONDS_MAX)
    return wrong


async def _verified(settings: Settings) -> list[str]:
    """`tollgate verify` waits until everything is at rest, and must find all equal."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tollgate.cli.main", "verify", "--json", "--wait", str(DRAIN_SECONDS_MAX)),
        env=environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    if process.returncode == 0:
        return []
    with contextlib.suppress(ValueError, TypeError, KeyError):
        differing = [found for found in json.loads(output)["checks"] if not found["ok"]]
        return [f"tollgate verify ended with {process.returncode}: {json.dumps(differing)[:3000]}"]
    return [f"tollgate verify ended with {process.returncode}: {errors.decode(errors='replace')[-2000:]}"]
