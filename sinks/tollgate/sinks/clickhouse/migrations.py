"""The tables as plain SQL files, applied in order and remembered with their checksums.

Why not the library clickhouse-migrations: it speaks the native protocol only, and Tollgate reaches ClickHouse, the
embedded one included, through HTTP. A statement ends with a semicolon at the end of a line. Each one may run again
(`IF NOT EXISTS`), because ClickHouse has no transaction around DDL: a file that failed half way is applied from its
start, and two processes that migrate at once do the same harmless work. A statement that may not run twice says in a
comment when it may: `-- only if:` and a query in one line, whose first value must be true. When such a statement fails
and the answer is no by then, another process was quicker.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error as DriverError

from tollgate.runtime.settings import Settings
from tollgate.sinks.clickhouse.connection import connect, unavailable
from tollgate.sinks.clickhouse.errors import MigrationError, UnavailableError

_FILE_NAME = re.compile(r"[0-9]{3}_[a-z0-9_]+\.sql")
_STATEMENT_END = re.compile(r";[ \t]*\n")
_CONDITION = re.compile(r"^-- only if: (.+)$", re.MULTILINE)

# A migration may copy a whole table.
ANSWER_SECONDS_MAX = 24 * 3600

_JOURNAL = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    name String COMMENT 'File name of the migration',
    checksum String COMMENT 'SHA-256 of the file as it was applied',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was applied'
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY name
COMMENT 'Which migrations of this database were applied'
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its statements run in order."""

    name: str
    checksum: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MigrationState:
    """A known migration and when it was applied; None while it is not."""

    name: str
    applied_at: datetime | None


def migrations() -> list[Migration]:
    """All migrations of this release in the order of their names."""
    folder = resources.files("tollgate.sinks.clickhouse") / "migrations"
    files = sorted(entry.name for entry in folder.iterdir() if _FILE_NAME.fullmatch(entry.name))
    return [parse_migration(name, (folder / name).read_text(encoding="utf-8")) for name in files]


def parse_migration(name: str, text: str) -> Migration:
    """Split a file into its statements; the checksum is of the whole text."""
    statements = tuple(part.strip() for part in _STATEMENT_END.split(text + "\n") if part.strip())
    return Migration(name, hashlib.sha256(text.encode()).hexdigest(), statements)


def migrate(settings: Settings, *, dry_run: bool = False, known: list[Migration] | None = None) -> list[str]:
    """Create the database and apply every migration that is missing; return their names, also in a dry run.

    Blocks. Raises MigrationError when an applied file has changed since or a statement fails, UnavailableError when
    ClickHouse cannot be reached. A later release's migrations, unknown here, are left alone.
    """
    known = migrations() if known is None else known
    applied = _applied(settings)
    for migration in known:
        entry = applied.get(migration.name)
        if entry and entry[0] != migration.checksum:
            raise MigrationError(
                f"{migration.name} was applied to the database {settings.clickhouse_database} with other content; "
                "an applied migration is never edited, so add a new one"
            )
    pending = [migration for migration in known if migration.name not in applied]
    if pending and not dry_run:
        _apply(settings, pending)
    return [migration.name for migration in pending]


def migration_states(settings: Settings) -> list[MigrationState]:
    """Every migration of this release, applied or not. Raises UnavailableError."""
    applied = _applied(settings)
    return [MigrationState(m.name, applied[m.name][1] if m.name in applied else None) for m in migrations()]


def _applied(settings: Settings) -> dict[str, tuple[str, datetime]]:
    """Checksum and time by file name; empty when the database or its journal does not exist."""
    client = connect(settings, with_database=False)
    try:
        exists = client.query(
            "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'schema_migrations'",
            parameters={"database": settings.clickhouse_database},
        ).result_rows[0][0]
        if not exists:
            return {}
        rows = client.query(
            f"SELECT name, checksum, applied_at FROM `{settings.clickhouse_database}`.schema_migrations FINAL"  # noqa: S608 # the settings' pattern lets no quote in
        ).result_rows
        return {name: (checksum, applied_at) for name, checksum, applied_at in rows}
    except DriverError as error:
        raise unavailable(error) from error
    finally:
        client.close()


def _apply(settings: Settings, pending: list[Migration]) -> None:
    client = connect(settings, with_database=False)
    try:
        _run(client, "the database", f"CREATE DATABASE IF NOT EXISTS `{settings.clickhouse_database}`")
    finally:
        client.close()
    client = connect(settings, answer_seconds_max=ANSWER_SECONDS_MAX)
    try:
        _run(client, "the journal", _JOURNAL)
        for migration in pending:
            for statement in migration.statements:
                if _is_wanted(client, statement):
                    _run(client, migration.name, statement)
            client.insert("schema_migrations", [[migration.name, migration.checksum]], ["name", "checksum"])
    except UnavailableError:
        raise
    except DriverError as error:
        raise unavailable(error) from error
    finally:
        client.close()


def _is_wanted(client: Client, statement: str) -> bool:
    """Whether the statement has no condition, or one that holds."""
    condition = _CONDITION.search(statement)
    if condition is None:
        return True
    rows = client.query(condition[1]).result_rows
    return bool(rows and rows[0][0])


def _run(client: Client, what: str, statement: str) -> None:
    try:
        client.command(statement)
    except DriverError as error:
        if error.code is None:
            raise unavailable(error) from error
        if not _is_wanted(client, statement):
            return
        # A statement of ours holds no user's data, so the server's own words may be shown.
        raise MigrationError(f"{what} could not be applied: {error}") from error
