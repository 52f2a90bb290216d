"""Fixtures: each test of the sink has its own migrated database."""

from collections.abc import Iterator

import pytest

from tollgate.runtime.settings import Settings
from tollgate.sinks.clickhouse import connect, migrate


@pytest.fixture
def tables(clickhouse: str, settings: Settings) -> Iterator[Settings]:
    """The test's settings; topics and tables exist."""
    assert settings.clickhouse_url == clickhouse
    migrate(settings)
    yield settings
    client = connect(settings)
    client.command(f"DROP DATABASE `{settings.clickhouse_database}`")
    client.close()
