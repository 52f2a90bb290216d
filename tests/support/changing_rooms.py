"""A console of the rooms in which things are changed, without Kafka and ClickHouse."""

from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
from tests.support.console import ConsoleUnderTest, bearer, make_token
from tests.support.control_in_memory import ControlInMemory

from tollgate.console.api import budgets, prices, settings
from tollgate.console.live import Live
from tollgate.console.numbers import Numbers
from tollgate.runtime.settings import Settings
from tollgate.schemas.tokens import Role

API = "/api/v1"
ROOMS = (budgets.ROOM, prices.ROOM, settings.ROOM)


def changing_console(**given: Any) -> ConsoleUnderTest:
    """Nothing listens where it looks for ClickHouse, and no topic is read."""
    made = Settings.model_validate(
        {"clickhouse_url": "http://127.0.0.1:9", "console_requests_per_minute": 10_000} | given
    )
    control = ControlInMemory(made)
    parts = SimpleNamespace(live=Live(made, control), numbers=Numbers(made))
    return ConsoleUnderTest(
        ROOMS, control, parts=parts, **{name: getattr(made, name) for name in made.model_fields_set}
    )


async def client_of(
    console: ConsoleUnderTest, role: Role = Role.ADMIN, *, name: str = "ada", org: str = "", user: str = ""
) -> httpx.AsyncClient:
    """A client with a token of this role."""
    token = await make_token(console.control, role, name=name, org=org, user=user)
    return console.client(headers=bearer(token))


def address(budget_id: str, what: str = "") -> str:
    """The path of a budget, with its id percent-encoded."""
    return f"{API}/budgets/{quote(budget_id, safe='')}{what}"
