"""Everything that runs in a chaos test, and what a fault may do with it."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.checker import Checker, Stopped
from tests.chaos.limits import People
from tests.chaos.load import set_budget, set_stop
from tests.chaos.roles import RoleProcess
from tests.chaos.schedule import Deed
from tests.chaos.services import Broker, Database, cluster
from tests.chaos.victim import Victim, is_ready
from tests.integration.clickhouse.door import Door, Way
from tests.simulation.rules import Limit
from tests.support.slack_server import CHANNEL, TOKEN, SlackServer

from tollgate.embedded.ports import free_ports
from tollgate.runtime.settings import Settings, load_settings

Say = Callable[[str], None]

WORKERS_MAX = 3
# Generous: a loaded machine is no difference.
READY_SECONDS_MAX = 180


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of a run. It ends after the given number of minutes or of faults."""

    seed: int
    minutes: float | None = None
    faults: int | None = None
    brokers: int = 1
    events_per_second: int = 500
    faults_per_round: int = 12
    usage_partitions: int = 8
    kinds: tuple[str, ...] = ()
    falsify: bool = False


class NotMetError(Exception):
    """The fault could not be brought about; it does not count."""


class World:
    """The processes of one run. Everything is started by `start` and stopped by `stop`."""

    def __init__(self, plan: Plan, directory: Path, slack: SlackServer, say: Say, own_disks: bool) -> None:
        self.plan = plan
        self.slack = slack
        self.say = say
        self.faults: Counter[str] = Counter()
        self.people = People(datetime.now(UTC))
        self.stopped = Stopped()
        self._stop_lock = asyncio.Lock()
        self.brokers: list[Broker] = cluster(plan.brokers, directory, own_disks)
        self.database = Database("clickhouse", directory, own_disks)
        self.settings = load_settings(
            kafka_bootstrap_servers=",".join(broker.address for broker in self.brokers),
            kafka_replication_factor=min(3, plan.brokers),
            clickhouse_url=f"http://{self.database.address}",
            data_dir=directory / "data",
            topic_prefix="chaos.",
            application="chaos",
            usage_partitions=plan.usage_partitions,
            slack_bot_token=TOKEN,
            slack_channel=CHANNEL,
            slack_api_url=slack.api_url,
        )
        (door_port,) = free_ports(1)
        self.door = Door(self.settings.clickhouse_url, door_port)
        given = self.settings.model_dump(exclude_unset=True) | {"clickhouse_url": self.door.url}
        roles: Settings = load_settings(**given)
        self.workers = [RoleProcess("worker", roles, directory, f"worker-{n}") for n in range(WORKERS_MAX)]
        self.clickhouse_sink = RoleProcess("sinks.clickhouse", roles, directory)
        self.alert_sink = RoleProcess("sinks.alerts", roles, directory)
        # Made when there is something to check.
        self.checker: Checker | None = None
        # One broker at a time: with two of three away Kafka refuses what it could not keep.
        self.kafka_lock = asyncio.Lock()

    @property
    def victims(self) -> list[Victim]:
        """Every process."""
        return [*self.brokers, self.database, *self.workers, self.clickhouse_sink, self.alert_sink]

    @property
    def employed(self) -> list[RoleProcess]:
        """The workers that are to run."""
        return [worker for worker in self.workers if worker.wanted]

    def a_worker(self, deed: Deed) -> RoleProcess:
        """One that is to run and that no other fault has in hand, if there is one."""
        free = [worker for worker in self.employed if not worker.lock.locked()] or self.employed
        return free[deed.among(len(free))]

    async def counts(self, seconds: float = READY_SECONDS_MAX) -> bool:
        """Whether a worker is ready within the time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for worker in self.employed:
                if not worker.lock.locked() and await worker.ready():
                    return True
            await asyncio.sleep(0.1)
        return False

    async def set_budget(self, limit: Limit) -> None:
        """Set a budget, and know it."""
        await set_budget(self.settings, limit)
        self.people.know(limit, datetime.now(UTC))

    async def toggle_stop(self, reason: str) -> None:
        """Stop all spending by hand, or let it go on, and know it."""
        async with self._stop_lock:
            stopped = not self.stopped.is_in_force
            await set_stop(self.settings, stopped=stopped, reason=reason)
            self.stopped.is_in_force, self.stopped.reason = stopped, reason
            self.stopped.times += 1

    async def heal(self) -> list[str]:
        """Undo what is left of any fault, and wait until everything works; what does not, in words."""
        self.slack.faults.clear()
        self.door.way = Way.OPEN
        for victim in self.victims:
            victim.held = False
            if victim.alive:
                victim.thaw()
        wanted = [victim for victim in self.victims if victim.wanted]
        ready = await asyncio.gather(*(is_ready(victim, READY_SECONDS_MAX) for victim in wanted))
        return [
            f"{victim.name} is not ready after {READY_SECONDS_MAX} s: {victim.last_words()}"
            for victim, is_well in zip(wanted, ready, strict=True)
            if not is_well
        ]

    async def start_services(self) -> None:
        """Kafka and ClickHouse. AssertionError when they do not answer."""
        services: list[Victim] = [*self.brokers, self.database]
        for service in services:
            service.start()
        for service in services:
            assert await is_ready(service, READY_SECONDS_MAX), f"{service.name}: {service.last_words()}"

    async def stop(self) -> list[str]:
        """End everything; what did not end in good order, in words."""
        wrong = await self.stop_roles()
        await asyncio.to_thread(self.database.stop)
        for broker in self.brokers:
            # One after the other in good order, the last would wait for the others to take over what it leads.
            broker.wanted = False
            if broker.alive:
                broker.kill()
        return wrong

    async def stop_roles(self) -> list[str]:
        """End Tollgate's own processes; what did not end in good order or had ended before, in words."""
        roles: list[Victim] = [*self.workers, self.clickhouse_sink, self.alert_sink]
        statuses = await asyncio.gather(*(asyncio.to_thread(role.stop) for role in roles))
        return [
            f"{role.name} ended with {status}, not 0: {role.last_words()}"
            for role, status in zip(roles, statuses, strict=True)
            if status
        ]
