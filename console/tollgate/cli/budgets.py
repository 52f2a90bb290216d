"""`tollgate budget`: limits on what a scope may spend."""

import time
from typing import Annotated, Any

from cyclopts import App, Parameter
from pydantic import ValidationError

from tollgate.cli.budget_presets import preset
from tollgate.cli.budget_reading import budget_json, read_budgets
from tollgate.cli.changes import change, open_control, system_actor
from tollgate.cli.exits import AnswerIsNoError, UsageError
from tollgate.cli.options import LIMIT, Actor, AsJson, DataDir, ExpectVersion, Limit, Reason, examples
from tollgate.cli.output import first, print_json, print_line, print_table, say
from tollgate.cli.services import find_settings
from tollgate.control import NoRecordError
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import BUDGET_KEY_PREFIX, BudgetRecord, Fail
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Action

app = App(
    name="budget",
    help_epilogue=examples(
        "tollgate budget set user/u-42 --limit 100",
        "tollgate budget list",
        "tollgate budget remove user/u-42:month:usd",
    ),
)


@app.command(
    name="set",
    help_epilogue=examples(
        "tollgate budget set user/u-42 --limit 100",
        "tollgate budget set 'user/*' --limit 4000000 --unit events --id monthly-messages",
        "tollgate budget set global --limit 500 --window day --action stop",
        "tollgate budget set 'user/*+feature/video' --limit 10 --unit events --window week --week-starts-on sunday",
        "tollgate budget set user/u-42+model/gpt-4o --limit 5 --timezone Asia/Tokyo --month-starts-on 15",
        "tollgate budget set agent/SEO --limit 25 --window hour --action downgrade --emergency-action block",
    ),
)
async def set_budget(
    scope: str,
    *,
    limit: str,
    unit: str = "usd",
    window: str = "month",
    timezone: str = "UTC",
    week_starts_on: str = "monday",
    month_starts_on: int = 1,
    warning: str = "80",
    critical: str = "100",
    emergency: str = "150",
    action: Action = Action.BLOCK,
    emergency_action: Action | None = None,
    warning_action: Action = Action.ALERT,
    fail: Fail = Fail.OPEN,
    except_: Annotated[list[str] | None, Parameter(name="--except", negative="", consume_multiple=True)] = None,
    valid_from: str | None = None,
    valid_to: str | None = None,
    id: Annotated[str | None, Parameter(name="--id")] = None,  # noqa: A002 # the contract's name
    owner: str | None = None,
    note: str | None = None,
    reason: Reason = "",
    actor: Actor = None,
    expect_version: ExpectVersion = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Set a budget, or replace the one with the same id. Earlier spend counts; a raised limit unblocks at once.

    Prints the budget as it is stored.

    Parameters
    ----------
    scope
        global, a dimension and a name such as user/u-42, agent/SEO, campaign/holiday-2024, or two or three of them such
        as user/u-42+model/gpt-4o. A star stands for every name: user/* is a budget for each user without one of their
        own in the same window and unit.
    limit
        How much, as a decimal number: dollars, events or units.
    unit
        usd, events, credits, or a usage dimension such as images or input_tokens.
    window
        hour, day, week, month or lifetime.
    timezone
        The IANA zone whose calendar cuts the windows, such as Europe/Amsterdam.
    week_starts_on
        The first day of a week.
    month_starts_on
        The first day of a month, 1 to 31; where a month is shorter, its last day.
    warning
        Percent of the limit at which a warning is sent; `none` for no warning.
    critical
        Percent of the limit at which ACTION is taken; `none` for never.
    emergency
        Percent of the limit at which the last alert is sent; `none` for no such alert.
    action
        What happens at critical, and at emergency without EMERGENCY-ACTION: alert, downgrade, block or stop.
    emergency_action
        What happens at emergency.
    warning_action
        What happens at warning.
    fail
        What readers of flags do while they know nothing: open lets calls pass, closed refuses them.
    except_
        Scopes that a block leaves alone, such as provider/groq.
    valid_from
        The budget limits nothing before this instant, RFC 3339 with offset.
    valid_to
        The budget limits nothing from this instant on.
    id
        Name of the budget. Default: SCOPE:WINDOW:UNIT.
    owner
        Who looks after it: a person or a team. No rule depends on it.
    note
        What it is for.
    """
    levels = {
        "warning": (warning, warning_action),
        "critical": (critical, action),
        "emergency": (emergency, emergency_action or action),
    }
    record = _validated(
        ({} if id is None else {"id": id})
        | {
            "scope": scope,
            "limit": limit,
            "unit": unit,
            "window": window,
            "timezone": timezone,
            "week_starts_on": week_starts_on,
            "month_starts_on": month_starts_on,
            "fail": fail,
            "except": except_ or [],
            "valid_from": valid_from,
            "valid_to": valid_to,
            "owner": owner,
            "note": note,
            "thresholds": {
                level: {"percent": percent, "action": what}
                for level, (percent, what) in levels.items()
                if percent.lower() != "none"
            },
            "updated_at": format_instant(int(time.time() * 1000)),
        }
    )
    stored = await write_budget(find_settings(data_dir), record, actor, reason, expect_version)
    if json:
        print_json(budget_json(stored))
    else:
        _print(stored)


def _validated(given: dict[str, Any]) -> BudgetRecord:
    try:
        return BudgetRecord.model_validate(given)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in fault["loc"])
        text = fault["msg"].removeprefix("Value error, ")
        raise UsageError(f"this is no budget: {f'{path}: ' if path else ''}{text}.") from None


def _print(record: BudgetRecord) -> None:
    print_line(f"id         {record.id}")
    print_line(f"scope      {record.scope}")
    print_line(f"limit      {record.limit} {record.unit} per {record.window.value}, {_calendar(record)}")
    if record.valid_from or record.valid_to:
        print_line(f"valid      {record.valid_from or '…'} to {record.valid_to or '…'}")
    if record.except_:
        print_line(f"except     {', '.join(record.except_)}")
    if record.fail is Fail.CLOSED:
        print_line("fail       closed")
    print_line(f"thresholds {_thresholds(record)}")
    print_line(f"version    {record.version}, by {record.actor}{f': {record.reason}' if record.reason else ''}")


def _calendar(record: BudgetRecord) -> str:
    """For people: `Asia/Tokyo, from day 15`."""
    if record.week_starts_on != "monday":
        return f"{record.timezone}, from {record.week_starts_on}"
    return f"{record.timezone}, from day {record.month_starts_on}" if record.month_starts_on != 1 else record.timezone


def _thresholds(record: BudgetRecord) -> str:
    given = {name: getattr(record.thresholds, name) for name in ("warning", "critical", "emergency")}
    return ", ".join(f"{name} {t.percent} % {t.action.value}" for name, t in given.items() if t is not None)


@app.command(name="list", help_epilogue=examples("tollgate budget list", "tollgate budget list --json"))
async def list_budgets(*, limit: Limit = LIMIT, json: AsJson = False, data_dir: DataDir = None) -> None:
    """List budgets, by scope."""
    found = await read_budgets(find_settings(data_dir))
    records = first(sorted(found.values(), key=lambda r: (r.scope, r.id)), limit)
    if json:
        print_json([budget_json(record) for record in records])
    elif records:
        rows = [
            (r.id, r.scope, r.limit, r.unit, r.calendar.text, _thresholds(r), r.version, r.updated_at, r.actor)
            for r in records
        ]
        columns = ("ID", "SCOPE", "LIMIT", "UNIT", "WINDOW", "THRESHOLDS", "VERSION", "UPDATED", "BY")
        print_table(columns, rows, right=(2, 6))
    else:
        say("There is no budget yet: set one with `tollgate budget set SCOPE --limit 100`.")


@app.command(
    name="remove", help_epilogue=examples("tollgate budget remove user/u-42:month:usd --reason 'no longer needed'")
)
async def remove_budget(
    id: str,  # noqa: A002 # its name in --help
    *,
    reason: Reason = "",
    actor: Actor = None,
    expect_version: ExpectVersion = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Remove a budget by its id (see `tollgate budget list`). This unblocks at once. Exit 1 when the id is unknown."""
    async with open_control(find_settings(data_dir)) as store:
        try:
            await store.change(
                f"{BUDGET_KEY_PREFIX}{id}",
                None,
                actor=actor or system_actor(),
                reason=reason,
                expect_version=expect_version,
            )
        except NoRecordError:
            raise AnswerIsNoError(f"there is no budget {id!r}: see `tollgate budget list`.") from None
    if json:
        print_json({"removed": id})
    else:
        print_line(f"removed {id}")


app.command(
    preset,
    help_epilogue=examples(
        "tollgate budget preset", "tollgate budget preset studio-412 --apply --reason 'new product'"
    ),
)


async def write_budget(
    settings: Settings,
    record: BudgetRecord,
    actor: str | None = None,
    reason: str = "",
    expect_version: int | None = None,
) -> BudgetRecord:
    """Set the budget as the user of this system, or as `actor`, and return it as it is stored.

    UnreachableError; AnswerIsNoError when it has another version than the expected one.
    """
    changed = await change(
        settings,
        f"{BUDGET_KEY_PREFIX}{record.id}",
        record.model_dump(mode="json", exclude_none=True),
        actor=actor,
        reason=reason,
        expect_version=expect_version,
    )
    return BudgetRecord.model_validate(changed.after)
