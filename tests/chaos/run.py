"""One run: load, kills at seeded moments, then the proof that nothing was lost and nothing counted twice."""

import asyncio
import contextlib
import itertools
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaProducer
from tests.chaos.checker import BUDGETS, PRICES, Checker, one_message_per_alert
from tests.chaos.roles import RoleProcess, environment
from tests.chaos.workload import PROVIDER, Record, Workload
from tests.support.slack_server import CHANNEL, TOKEN, SlackServer, running

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings, load_settings
from tollgate.runtime.topics_admin import apply_topics
from tollgate.schemas.control import BudgetRecord, PriceRecord
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse import migrate

Say = Callable[[str], None]

# How long the outputs may take to come to rest after the last event.
DRAIN_SECONDS_MAX = 120
# A machine that is slower than the plan falls behind it; nothing else may wait for the load to catch up.
_BATCH_MAX = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens. `kills` are of workers; sinks are killed beside them. `pauses` stop a worker for 13 seconds, longer
    than the group waits, so that it comes back to partitions that another one owns."""

    seed: int
    kills: int = 10
    workers: int = 1
    pauses: int = 0
    events_per_second: int = 2_000


@dataclass(slots=True)
class Outcome:
    """What was done and what was found wrong."""

    events: int = 0
    records: int = 0
    total_usd: str = "0"
    kills: dict[str, int] = field(default_factory=dict)
    messages: int = 0
    seconds: float = 0
    wrong: list[str] = field(default_factory=list)


async def run(settings: Settings, plan: Plan, directory: Path, say: Say) -> Outcome:
    """Carry out the plan on a broker and a ClickHouse that run already."""
    started = time.monotonic()
    async with running(SlackServer()) as slack:
        given = settings.model_dump(exclude_unset=True)
        given |= {"slack_bot_token": TOKEN, "slack_channel": CHANNEL, "slack_api_url": slack.api_url}
        settings = load_settings(**given)
        await apply_topics(settings)
        await asyncio.to_thread(migrate, settings)
        await _set_prices_and_budgets(settings)
        checker = Checker()
        outcome = Outcome()
        roles = _roles(settings, plan, directory)
        try:
            for role in roles:
                role.start()
            enough = asyncio.Event()
            load = asyncio.create_task(_load(settings, plan, checker, enough))
            async with _revived(roles):
                async with asyncio.timeout(60 + 30 * (plan.kills + plan.pauses)):
                    await _disturb(plan, roles, load, say)
                enough.set()
                outcome.records = await load
                say(f"sent {outcome.records} records; {len(checker.costs)} events count for {checker.total} USD")
                outcome.wrong += await _verified(settings, say)
            outcome.wrong += await _checked(settings, checker)
        finally:
            outcome.wrong += [
                f"{r.name} ended with {s}, not 0" for r in roles if (s := await asyncio.to_thread(r.stop))
            ]
        posted = [m.body["metadata"]["event_payload"]["alert_key"] for m in slack.messages]
        outcome.wrong += one_message_per_alert(posted)
        outcome.messages = len(posted)
    outcome.events, outcome.total_usd = len(checker.costs), str(checker.total)
    outcome.kills = {role.name: role.kills for role in roles}
    outcome.seconds = time.monotonic() - started
    return outcome


def _roles(settings: Settings, plan: Plan, directory: Path) -> list[RoleProcess]:
    workers = [RoleProcess("worker", settings, directory, f"worker-{n}") for n in range(plan.workers)]
    return [*workers, *(RoleProcess(f"sinks.{sink}", settings, directory) for sink in ("clickhouse", "alerts"))]


async def _disturb(plan: Plan, roles: list[RoleProcess], load: "asyncio.Task[int]", say: Say) -> None:
    """Kill workers at random moments: some while they recover, most while they count."""
    rnd = random.Random(plan.seed)
    workers, sinks = roles[: plan.workers], roles[plan.workers :]
    deeds = ["kill"] * plan.kills + ["pause"] * plan.pauses
    rnd.shuffle(deeds)
    for number, deed in enumerate(deeds, 1):
        victim = rnd.choice(workers)
        while_recovering = deed == "kill" and number > 1 and rnd.random() < 0.3
        if not while_recovering and not await victim.ready():
            raise RuntimeError(f"{victim.name} did not become ready: {victim.log.read_text(errors='replace')[-3000:]}")
        await asyncio.sleep(rnd.uniform(0.1, 2.5))
        if load.done():
            await load
        say(f"{number}/{len(deeds)} {deed} {victim.name}{' while it recovers' if while_recovering else ''}")
        if deed == "pause":
            victim.freeze()
            await asyncio.sleep(13)
            victim.thaw()
        else:
            victim.kill()
        for sink in sinks:
            if rnd.random() < 0.3:
                say(f"  and {sink.name}")
                sink.kill()
    if not all(await asyncio.gather(*(worker.ready() for worker in workers))):
        raise RuntimeError("a worker did not come back")
    # The survivors count under load for a moment, too.
    await asyncio.sleep(2)


@contextlib.asynccontextmanager
async def _revived(roles: list[RoleProcess]) -> AsyncIterator[None]:
    """Start what ends by itself again, as a supervisor does."""

    async def keep() -> None:
        while True:
            for role in roles:
                role.revive()
            await asyncio.sleep(0.5)

    keeper = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeper.cancel()


async def _load(settings: Settings, plan: Plan, checker: Checker, enough: asyncio.Event) -> int:
    """Send records at the plan's pace until it is enough; all are awaited, for only what Kafka acknowledged counts."""
    producer = AIOKafkaProducer(
        **client_options(settings), acks="all", enable_idempotence=True, linger_ms=5, request_timeout_ms=60_000
    )
    await producer.start()
    topic = settings.topic(Topic.USAGE)
    records = Workload(plan.seed).records()
    sent = 0
    try:
        started = time.monotonic()
        while not enough.is_set():
            due = int((time.monotonic() - started) * plan.events_per_second) - sent
            batch: list[Record] = list(itertools.islice(records, min(max(due, 0), _BATCH_MAX)))
            acknowledged = [
                await producer.send(topic, record.value, key=record.key, partition=record.partition) for record in batch
            ]
            for record in batch:
                checker.add(record)
            sent += len(batch)
            await asyncio.gather(*acknowledged)
            await asyncio.sleep(0.01)
    finally:
        await producer.stop()
    return sent


async def _set_prices_and_budgets(settings: Settings) -> None:
    records: list[tuple[str, bytes]] = []
    for model, rates in PRICES.items():
        price = PriceRecord.model_validate(
            {
                "provider": PROVIDER,
                "model": model,
                "rates": [{"dimension": name, "usd": usd, "per": per} for name, (usd, per) in rates.items()],
                "effective_from": "2020-01-01T00:00:00Z",
            }
        )
        records.append((f"price/{price.id}", price.model_dump_json().encode()))
    for scope, limit in BUDGETS.items():
        budget = BudgetRecord.model_validate({"scope": scope, "limit": limit, "updated_at": "2026-01-01T00:00:00Z"})
        records.append((f"budget/{budget.id}", budget.model_dump_json().encode()))
    async with AIOKafkaProducer(**client_options(settings), acks="all") as producer:
        for key, value in records:
            await producer.send_and_wait(settings.topic(Topic.CONTROL), value, key=key.encode())


async def _verified(settings: Settings, say: Say) -> list[str]:
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
        report = json.loads(output)
        say(f"tollgate verify: equal, {report['events']} events, {report['cost_usd']} USD")
        return []
    return [f"tollgate verify ended with {process.returncode}: {errors.decode(errors='replace')[-2000:]}"]


async def _checked(settings: Settings, checker: Checker) -> list[str]:
    return [
        *await checker.check_priced(settings),
        *await checker.check_dead_letters(settings),
        *await checker.check_spend(settings),
        *await checker.check_flags(settings),
        *await asyncio.to_thread(checker.check_clickhouse, settings),
    ]
