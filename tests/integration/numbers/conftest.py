"""A migrated database for each module, and numbers whose clock stands still."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from clickhouse_connect.driver.client import Client
from tests.integration.numbers.ledger import write
from tests.integration.numbers.story import NOW, STORY

from tollgate.console.numbers import Numbers
from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import parse_instant
from tollgate.sinks.clickhouse import connect, migrate


@pytest.fixture(scope="module")
def database(clickhouse: str) -> Iterator[Settings]:
    """Settings with a database of their own; the tables are empty."""
    made = Settings(clickhouse_url=clickhouse, clickhouse_database=f"n{uuid.uuid4().hex[:10]}")
    migrate(made)
    yield made
    client = connect(made)
    client.command(f"DROP DATABASE `{made.clickhouse_database}`")
    client.close()


@pytest.fixture(scope="module")
def client(database: Settings) -> Iterator[Client]:
    """For filling the tables."""
    made = connect(database)
    yield made
    made.close()


@pytest.fixture(scope="module")
def filled(database: Settings, client: Client) -> Settings:
    """The database with the story."""
    write(client, STORY, NOW)
    return database


@pytest.fixture
async def numbers(filled: Settings) -> AsyncIterator[Numbers]:
    """Over the story, as of its last moment."""
    made = Numbers(filled, now_ms=lambda: parse_instant(NOW))
    await made.start()
    yield made
    await made.stop()
