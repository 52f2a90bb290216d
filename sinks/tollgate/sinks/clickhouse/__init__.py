"""The ClickHouse sink: tables, and the process that fills them."""

from tollgate.sinks.clickhouse.asking import ask
from tollgate.sinks.clickhouse.connection import connect
from tollgate.sinks.clickhouse.errors import (
    MigrationError,
    QueryRefusedError,
    RefusedError,
    SinkError,
    UnavailableError,
)
from tollgate.sinks.clickhouse.migrations import MigrationState, migrate, migration_states
from tollgate.sinks.clickhouse.process import ClickHouseSink, run

__all__ = [
    "ClickHouseSink",
    "MigrationError",
    "MigrationState",
    "QueryRefusedError",
    "RefusedError",
    "SinkError",
    "UnavailableError",
    "ask",
    "connect",
    "migrate",
    "migration_states",
    "run",
]
