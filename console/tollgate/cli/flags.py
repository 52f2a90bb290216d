"""`tollgate flags`: who is warned, blocked or stopped now."""

import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

from cyclopts import App, Parameter

from tollgate.cli.exits import UnreachableError
from tollgate.cli.options import LIMIT, AsJson, DataDir, Limit, examples
from tollgate.cli.output import first, print_json, print_line, print_table, say
from tollgate.cli.scope_names import checked_scope, partitions_of_scope
from tollgate.cli.services import find_settings, reaching_kafka
from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.runtime.topic_reading import partitions_of, read_latest
from tollgate.schemas.outputs import Flag
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic
from tollgate.sdk import FlagReader, UnavailableError
from tollgate.sdk.decision import HeldFlag

# Of a key that is no scope; a scope is at most a dimension and a name.
_NAME_CHARS_SHOWN = 300

app = App(
    name="flags",
    help_epilogue=examples(
        "tollgate flags", "tollgate flags user/u-42 --json", "tollgate flags --follow", "tollgate flags --all"
    ),
)


@app.default
async def flags(
    scope: str | None = None,
    *,
    follow: Annotated[bool, Parameter(negative="")] = False,
    all: Annotated[bool, Parameter(name="--all", negative="")] = False,  # noqa: A002 # reads well on the command line
    limit: Limit = LIMIT,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show the flags in force: scopes that are warned, blocked or stopped at this moment. No flag means ok.

    With --json one array, empty when all is well; with --follow one object per line.

    Parameters
    ----------
    scope
        Only this scope, for example user/u-42 or global.
    follow
        Afterwards print every change, including those back to ok, until Ctrl-C.
    all
        Also show flags that are ok or have expired; in JSON, `in_force` is false for those.
    """
    if scope is not None:
        checked_scope(scope)
    settings = find_settings(data_dir)
    if follow:
        await _follow(settings, scope, json=json)
        return
    now_ms = time.time_ns() // 1_000_000
    found = await read_flags(settings, scope, lambda flag: all or flag.in_force(now_ms))
    shown = first([flag for _, flag in sorted(found.items())], limit)
    if json:
        print_json([flag_json(flag, now_ms) for flag in shown])
    elif shown:
        print_table(
            ("SCOPE", "STATE", "SPENT", "LIMIT", "UNIT", "PERCENT", "BUDGET", "SINCE", "UNTIL"),
            [_row(flag, now_ms) for flag in shown],
            right=(2, 3, 5),
        )
        for held in shown:
            if held.flag.note:
                print_line(f"{held.flag.scope}: {held.flag.note}")
    elif scope is not None:
        print_line(f"{scope} is ok")
    else:
        say("All is well: no scope is warned, blocked or stopped.")


async def read_flags(
    settings: Settings, scope: str | None = None, wanted: Callable[[HeldFlag], bool] = lambda _flag: True
) -> dict[str, HeldFlag]:
    """The latest flag of every scope, or of one, if it is wanted."""
    if scope is None:
        latest = await read_latest(settings, Topic.FLAGS)
    else:
        key = scope.encode()
        latest = await read_latest(
            settings,
            Topic.FLAGS,
            lambda found: found == key,
            partitions=partitions_of_scope(scope, settings.usage_partitions),
        )
    found: dict[str, HeldFlag] = {}
    for name, value in latest.items():
        try:
            flag = read_record(HeldFlag.read, value)
            if wanted(flag):
                found[name] = flag
        except UnreadableError as error:
            say(f"the flag of {name[:_NAME_CHARS_SHOWN]!r} cannot be read: {error}")
    return found


def flag_json(held: HeldFlag, now_ms: int) -> dict[str, Any]:
    """The flag as it is in the topic, and whether it holds at this moment."""
    return held.flag.model_dump(mode="json", by_alias=True) | {"in_force": held.in_force(now_ms)}


def _row(held: HeldFlag, now_ms: int) -> tuple[str, ...]:
    flag = held.flag
    state = flag.state.value if held.in_force(now_ms) or flag.state.value == "ok" else f"{flag.state.value} (past)"
    numbers = (flag.spent, flag.limit, flag.unit, flag.percent, flag.budget)
    return (flag.scope, state, *(value or "-" for value in numbers), flag.since, flag.until or "-")


async def _follow(settings: Settings, scope: str | None, *, json: bool) -> None:
    await partitions_of(settings, Topic.FLAGS)
    options = client_options(settings)
    reader = FlagReader(options.pop("bootstrap_servers"), topic_prefix=settings.topic_prefix, **options)
    try:
        async with reaching_kafka(settings), reader:
            for flag in reader.in_force():
                _tell(flag, scope, json=json)
            async for flag in reader.changes():
                _tell(flag, scope, json=json)
    except UnavailableError as error:
        raise UnreachableError(f"{error}.") from None


def _tell(flag: Flag, scope: str | None, *, json: bool) -> None:
    if scope is not None and flag.scope != scope:
        return
    if json:
        print_json(flag_json(HeldFlag.of(flag), time.time_ns() // 1_000_000))
    else:
        numbers = f", {flag.spent} of {flag.limit} {flag.unit} ({flag.percent} %), {flag.budget}" if flag.budget else ""
        until = f", until {flag.until or 'further notice'}" if flag.blocked else ""
        note = f": {flag.note}" if flag.note else ""
        print_line(f"{flag.scope} {flag.state.value}{numbers}{until}{note}")
    sys.stdout.flush()
