"""`tollgate verify`: proof that every number of the system follows from the usage topic."""

from typing import Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from tollgate.cli.changes import change
from tollgate.cli.exits import Exit, UnreachableError, UsageError
from tollgate.cli.options import AsJson, DataDir
from tollgate.cli.output import print_json, say, say_error
from tollgate.cli.services import find_settings, reaching_kafka
from tollgate.cli.verify_progress import showing
from tollgate.runtime.interrupts import run
from tollgate.runtime.logs import configure_logs
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import LAST_VERIFY_SETTING, SETTING_KEY_PREFIX, VerifyCheck, VerifyValue
from tollgate.schemas.shown_text import safe
from tollgate.verification import Report, SpaceError
from tollgate.verification import verify as run_verification

# Of a difference with two long values: enough to see what it is about; the command itself prints all of it.
_RECORDED_CHARS_MAX: Final = 500


def verify(
    *,
    wait: Annotated[
        float, Parameter(help="Seconds to wait for the worker, its outputs and the sink to catch up.")
    ] = 30,
    clickhouse: Annotated[
        bool, Parameter(negative="--no-clickhouse", help="Compare ClickHouse too; --no-clickhouse leaves it out.")
    ] = True,
    processes: Annotated[
        int | None,
        Parameter(
            help="Number of processes that recount. Default: one per processor, at most four.",
            validator=Number(gte=1),
        ),
    ] = None,
    record: Annotated[
        bool,
        Parameter(negative="", help="Keep what was found in the control topic: the console's health page shows it."),
    ] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Recount all usage and compare: priced events, dead letters, state, spend, flags, ClickHouse.

    Events may keep arriving: everything is compared up to the same usage offsets. Exit 0 only when all are equal to the
    last digit, 1 when they are not (the first scope and window that differs is printed, with the events behind it), 3
    when Kafka or ClickHouse cannot be reached. Ids that were counted for more than one user are shown and are no
    difference. Temporary files take about 50 bytes for each event of the largest partition, 20 for each event of all,
    and the size of the state and spend records.
    """
    settings = find_settings(data_dir)
    # The clients would log each attempt; the sentence at the end says it.
    configure_logs("error")
    report = run(_verify(settings, wait, clickhouse=clickhouse, processes=processes, quiet=as_json))
    if record:
        run(_record(settings, report, clickhouse=clickhouse))
    if as_json:
        print_json(report.as_json())
    else:
        print_report(report)
    if not clickhouse:
        say("ClickHouse was not compared, because of --no-clickhouse.")
    for check in report.checks:
        if not check.ok:
            more = f" ({check.differences - 1} more)" if check.differences > 1 else ""
            say_error(f"{check.name}: {check.difference}{more}")
    for line in (*report.lines(), *report.several_users.lines()):
        say(line)
    return Exit.OK if report.ok else Exit.NO


async def _record(settings: Settings, report: Report, *, clickhouse: bool) -> None:
    """Keep the summary as the setting `last-verify`, under the name of whoever runs this."""
    checks = [
        VerifyCheck(
            name=check.name,
            ok=check.ok,
            expected=check.expected[:_RECORDED_CHARS_MAX],
            found=check.found[:_RECORDED_CHARS_MAX],
            difference=check.difference[:_RECORDED_CHARS_MAX],
        )
        for check in report.checks
    ]
    value = VerifyValue(
        ok=report.ok, events=report.events, cost_usd=report.cost_usd, clickhouse=clickhouse, checks=tuple(checks)
    )
    setting = {"name": LAST_VERIFY_SETTING, "value": value.model_dump(mode="json")}
    await change(settings, f"{SETTING_KEY_PREFIX}{LAST_VERIFY_SETTING}", setting)


async def _verify(
    settings: Settings, wait_seconds: float, *, clickhouse: bool, processes: int | None, quiet: bool
) -> Report:
    from tollgate.sinks.clickhouse import SinkError

    with showing(quiet) as progress:
        try:
            async with reaching_kafka(settings):
                return await run_verification(
                    settings, wait_seconds, clickhouse=clickhouse, progress=progress, processes=processes
                )
        except SinkError as error:
            raise UnreachableError(
                f"{error}: start the stack with `tollgate up`, or set TOLLGATE_CLICKHOUSE_URL."
            ) from None
        except SpaceError as error:
            raise UsageError(f"{error}: set TMPDIR to a directory with more room.") from None


def print_report(report: Report) -> None:
    """A table of the checks, and the verdict."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = Console(highlight=False)
    table = Table("check", "expected", "found", "ok")
    for check in report.checks:
        mark = "[green]yes[/green]" if check.ok else "[red]NO[/red]"
        # As text: a table reads markup in strings.
        table.add_row(check.name, Text(safe(check.expected)), Text(safe(check.found)), mark)
    out.print(table)
    for check in report.checks:
        if check.note:
            out.print(f"{check.name}: {safe(check.note)}", markup=False, soft_wrap=True)
    verdict = "Everything is equal" if report.ok else "Not everything is equal"
    out.print(f"{verdict}: {report.events} events, {report.cost_usd} USD.", soft_wrap=True)
