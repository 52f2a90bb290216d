"""A console in the test's own process whose live memory is filled by hand: no Kafka, no ClickHouse."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import httpx
from aiokafka import TopicPartition
from tests.support.console import ConsoleUnderTest, bearer, make_token
from tests.support.control_in_memory import ControlInMemory
from tests.support.live_records import alert_record, balance_record, flag_record, spend_record

from tollgate.console.deciding import Deciding
from tollgate.console.health import Health
from tollgate.console.ingest import Ingest
from tollgate.console.live import Live
from tollgate.console.live.follower import Mark
from tollgate.console.numbers import Numbers
from tollgate.console.room import Room
from tollgate.console.rooms import ROOMS
from tollgate.console.sums import Sums
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.tokens import Role
from tollgate.schemas.topics import Topic
from tollgate.schemas.vocabulary import WindowKind

# A port that nobody listens on.
NOWHERE = "127.0.0.1:9"


class LiveConsole(ConsoleUnderTest):
    """The whole console; `flag`, `spent`, `alert` and `budget` are what the topics would bring."""

    def __init__(self, rooms: Sequence[Room] = ROOMS, **more: Any) -> None:
        """`more` are settings, such as the address of a ClickHouse that is there."""
        away = {"kafka_bootstrap_servers": NOWHERE, "clickhouse_url": f"http://{NOWHERE}"} | more
        settings = Settings.model_validate(away)
        control = ControlInMemory(settings)
        self.live = Live(settings, control)
        self.numbers = numbers = Numbers(settings)
        self.sums = Sums(self.live, numbers)
        ingest = Ingest(settings)
        parts = SimpleNamespace(
            live=self.live,
            numbers=numbers,
            sums=self.sums,
            ingest=ingest,
            deciding=Deciding(settings, ingest),
            health=Health(settings, numbers),
        )
        super().__init__(rooms, control, parts=parts, **away)

    def flag(self, scope: str, *args: Any, **changes: Any) -> None:
        """A record of the flags topic."""
        self.live._take_flag(scope.encode(), flag_record(scope, *args, **changes))

    def alert(self, scope: str, *args: Any, **changes: Any) -> None:
        """A record of the alerts topic."""
        self.live._take_alert(*alert_record(scope, *args, **changes))

    def spent(self, scope: str, spent: str, kind: WindowKind, at_ms: int) -> None:
        """A record of the spend topic."""
        self.live._take_spend(*spend_record(scope, spent, kind, at_ms))

    def credits(self, user: str, **changes: Any) -> None:
        """A record of the balances topic."""
        self.live._balances.take(user.encode(), balance_record(user, **changes))

    def has_read_to(self, as_of_ms: int) -> None:
        """Every topic is read to its end, as of this time."""
        for topic in (Topic.FLAGS, Topic.SPEND, Topic.ALERTS, Topic.BALANCES):
            partition = TopicPartition(self.settings.topic(topic), 0)
            mark = self.live._follower._marks[partition] = Mark()
            mark.see(0, 0, as_of_ms)

    async def budget(self, scope: str, limit: str, **changes: Any) -> str:
        """Set a budget; its id."""
        given = BudgetRecord(scope=scope, limit=limit, updated_at="2026-11-21T10:00:00Z", **changes)
        value = given.model_dump(mode="json", exclude_none=True)
        await self.control.change(f"budget/{given.id}", value, actor="test")
        return given.id

    async def as_role(self, role: Role, *, user: str = "", org: str = "") -> httpx.AsyncClient:
        """A client whose token has this role."""
        return self.client(headers=bearer(await make_token(self.control, role, user=user, org=org)))
