"""`tollgate report`: costs, revenue and usage of a range as CSV or JSON."""

import sys
from typing import Annotated, Literal

from cyclopts import App, Parameter

from tollgate.cli.asking_numbers import moment, numbers_of
from tollgate.cli.options import DataDir, examples
from tollgate.cli.services import find_settings
from tollgate.console.numbers import EVERYTHING, ReportFormat, report_keys
from tollgate.schemas.shown_text import safe

app = App(
    name="report",
    help_epilogue=examples(
        "tollgate report --from 2026-11-01 --to 2026-12-01 --by day,model > november.csv",
        "tollgate report --from 2026-11-01 --to 2026-12-01 --by user --format json",
        "tollgate report --from 2026-11-21T10:00:00Z --to 2026-11-21T11:00:00Z --by event",
    ),
)


@app.default
async def report(
    *,
    from_: Annotated[str, Parameter(name="--from")],
    to: Annotated[str, Parameter(name="--to")],
    by: str = "day",
    format: Literal["csv", "json"] = "csv",  # noqa: A002 # the option's name
    data_dir: DataDir = None,
) -> None:
    """Write a report on standard output, of any size: events, costs, retail value, profit and usage, from ClickHouse.

    A text that a spreadsheet would take for a formula begins with an apostrophe in CSV.

    Parameters
    ----------
    from_
        First instant: a date (its midnight in UTC) or RFC 3339.
    to
        First instant after the range, likewise.
    by
        Up to five with commas between: hour, day, month, user, org, service, provider, model, agent, campaign,
        feature, product, operation, status, price_status. Or event alone, for a row per event.
    format
        csv or json.
    """
    begin, end = moment("--from", from_), moment("--to", to)
    async with numbers_of(find_settings(data_dir)) as numbers:
        keys = report_keys([name.strip() for name in by.split(",") if name.strip()])
        async for part in numbers.export(EVERYTHING, keys, begin, end, ReportFormat(format)):
            _write(part)


def _write(part: bytes) -> None:
    """Bytes for a file or a program as they are; for a terminal nothing that it would act on."""
    if sys.stdout.isatty():
        sys.stdout.write("\n".join(safe(line) for line in part.decode("utf-8", "replace").splitlines()) + "\n")
    else:
        sys.stdout.buffer.write(part)
    sys.stdout.flush()
