"""`tollgate clickhouse migrate` makes ClickHouse's tables as this release needs them; `query` asks them."""

import sys
from typing import Annotated, NoReturn

from cyclopts import App, Parameter

from tollgate.cli.exits import AnswerIsNoError, Exit, UnreachableError, UsageError
from tollgate.cli.options import AsJson, DataDir, examples
from tollgate.cli.output import print_json, print_table, say_error
from tollgate.cli.services import find_settings
from tollgate.runtime.settings import Settings
from tollgate.schemas.shown_text import safe
from tollgate.sinks.clickhouse import (
    MigrationError,
    QueryRefusedError,
    UnavailableError,
    ask,
    migrate,
    migration_states,
)

_EXAMPLES = examples("tollgate clickhouse migrate", "tollgate clickhouse migrate --status --json")

app = App(name="clickhouse", help_epilogue=_EXAMPLES)


@app.command(name="migrate", help_epilogue=_EXAMPLES)
def migrate_command(
    *,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    status: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> Exit:
    """Create the database and apply the migrations that are missing. A second run changes nothing.

    Exit 1 when an applied migration differs from this release's, or when --dry-run finds something to do.

    Parameters
    ----------
    dry_run
        Only print what would be applied.
    status
        Show every migration and when it was applied; change nothing.
    """
    if dry_run and status:
        raise UsageError("--dry-run and --status cannot be given together.")
    settings = find_settings(data_dir)
    try:
        if status:
            return _print_status(settings, json)
        names = migrate(settings, dry_run=dry_run)
    except UnavailableError as error:
        _unreachable(settings, error)
    except MigrationError as error:
        raise AnswerIsNoError(f"{error}.") from None
    if json:
        print_json({"dry_run": dry_run, "database": settings.clickhouse_database, "migrations": names})
    else:
        result = "would be applied" if dry_run else "applied"
        print_table(("MIGRATION", "RESULT"), [(name, result) for name in names] or [("(all)", "already applied")])
    if dry_run and names:
        say_error("the tables are not as this release needs them: run `tollgate clickhouse migrate`.")
        return Exit.NO
    return Exit.OK


_QUERY_EXAMPLES = examples(
    "tollgate clickhouse query 'SELECT model, sum(cost_usd) FROM usage GROUP BY model'",
    "tollgate clickhouse query < query.sql > answer.txt",
)


@app.command(name="query", help_epilogue=_QUERY_EXAMPLES)
def query_command(sql: str | None = None, /, *, data_dir: DataDir = None) -> Exit:
    """Ask ClickHouse one question and print its answer as it comes.

    Finds the stack of this machine and its password by itself. Exit 1 when ClickHouse refuses the question.

    Parameters
    ----------
    sql
        One statement in ClickHouse's SQL; from standard input when it is not given. Its FORMAT clause says how the
        answer is written; a table without one.
    """
    settings = find_settings(data_dir)
    text = sys.stdin.read() if sql is None else sql
    if not text.strip():
        raise UsageError("there is no question: give it as an argument, or on standard input.")
    try:
        for part in ask(settings, text):
            _write(part)
    except UnavailableError as error:
        _unreachable(settings, error)
    except QueryRefusedError as error:
        raise AnswerIsNoError(f"ClickHouse refused the question: {error}.") from None
    return Exit.OK


def _write(part: bytes) -> None:
    """Bytes for a file or a program as they are; for a terminal nothing that it would act on."""
    if sys.stdout.isatty():
        sys.stdout.write("\n".join(safe(line) for line in part.decode("utf-8", "replace").split("\n")))
    else:
        sys.stdout.buffer.write(part)
    sys.stdout.flush()


def _print_status(settings: Settings, json: bool) -> Exit:
    states = migration_states(settings)
    times = [state.applied_at.isoformat(timespec="seconds") if state.applied_at else None for state in states]
    if json:
        migrations = [{"name": s.name, "applied_at": time} for s, time in zip(states, times, strict=True)]
        print_json({"database": settings.clickhouse_database, "migrations": migrations})
    else:
        rows = [(state.name, time or "not applied") for state, time in zip(states, times, strict=True)]
        print_table(("MIGRATION", "APPLIED AT"), rows)
    return Exit.OK


def _unreachable(settings: Settings, error: UnavailableError) -> NoReturn:
    address = settings.clickhouse_url.rpartition("@")[2].removeprefix("http://").removeprefix("https://")
    raise UnreachableError(
        f"ClickHouse at {address} does not serve: {error.reason}. Start the stack with `tollgate up`, or set "
        "TOLLGATE_CLICKHOUSE_URL."
    ) from None
