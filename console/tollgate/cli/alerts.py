"""`tollgate alerts`: which problems are open."""

from decimal import Decimal
from typing import Annotated, Final

from cyclopts import App, Parameter
from cyclopts.validators import Number
from pydantic import ValidationError

from tollgate.cli.options import AsJson, DataDir, examples
from tollgate.cli.output import print_json, print_table, say
from tollgate.cli.services import find_settings
from tollgate.runtime.settings import Settings
from tollgate.runtime.topic_reading import read_latest
from tollgate.schemas.outputs import Alert, AlertLevel
from tollgate.schemas.topics import Topic

app = App(name="alerts", help_epilogue=examples("tollgate alerts list", "tollgate alerts list --all --json"))

_SHOWN: Final = 100
_WORST_FIRST: Final = (AlertLevel.EMERGENCY, AlertLevel.CRITICAL, AlertLevel.WARNING, AlertLevel.RESOLVED)


@app.command(name="list", help_epilogue=examples("tollgate alerts list", "tollgate alerts list --limit 1000 --json"))
async def list_alerts(
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=1))] = _SHOWN,
    all: Annotated[bool, Parameter(name="--all", negative="")] = False,  # noqa: A002 # reads well on the command line
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List the alerts that are open: budgets that are reached and models without a price, the worst first.

    Parameters
    ----------
    limit
        At most so many; stderr says how many more there are.
    all
        Also alerts that are resolved.
    """
    found = await _read(find_settings(data_dir))
    shown = [alert for alert in found if all or alert.level is not AlertLevel.RESOLVED]
    shown.sort(key=lambda a: (_WORST_FIRST.index(a.level), -Decimal(a.percent or 0), a.since, a.key))
    if json:
        print_json([alert.model_dump(mode="json") for alert in shown[:limit]])
    elif shown:
        rows = [(a.level.value, a.scope, a.percent or "", a.since, a.budget or "", a.reason) for a in shown[:limit]]
        print_table(("LEVEL", "SCOPE", "PERCENT", "SINCE", "BUDGET", "REASON"), rows, right=(2,))
    else:
        say("All is well: no alert is open.")
    if len(shown) > limit:
        say(f"{len(shown) - limit:,} more: give --limit {len(shown)} to see them all.")


async def _read(settings: Settings) -> list[Alert]:
    found = []
    for name, value in (await read_latest(settings, Topic.ALERTS)).items():
        try:
            found.append(Alert.model_validate_json(value))
        except ValidationError as error:
            say(f"the alert {name!r} cannot be read: {error.errors()[0]['msg']}")
    return found
