"""`tollgate plan`: plans, and who has which."""

import json as json_module
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from pydantic import ValidationError

from tollgate.cli.changes import open_control, system_actor
from tollgate.cli.exits import AnswerIsNoError, UsageError
from tollgate.cli.options import LIMIT, Actor, AsJson, DataDir, ExpectVersion, Limit, Reason, examples
from tollgate.cli.output import first, print_json, print_line, print_table, say
from tollgate.cli.services import find_settings
from tollgate.control import ControlStore, NoRecordError
from tollgate.schemas.control import (
    ASSIGNMENT_KEY_PREFIX,
    DEFAULT_ASSIGNMENT_KEY,
    PLAN_KEY_PREFIX,
    AssignmentRecord,
    PlanLimitRecord,
    PlanRecord,
    describe_faults,
)
from tollgate.schemas.instants import format_instant
from tollgate.schemas.plans import shipped_plans
from tollgate.schemas.scopes import Dimension, parse_scope, scope_of

app = App(
    name="plan",
    help="Set, list, show, remove and assign plans.",
    help_epilogue=examples(
        "tollgate plan list",
        "tollgate plan default free",
        "tollgate plan assign u-42 pro --timezone Europe/Amsterdam",
    ),
)

# A plan has at most 64 limits with names of at most 256 characters.
_FILE_BYTES_MAX = 256 * 1024

Timezone = Annotated[
    str | None, Parameter(help="IANA zone of the user's days and months. Default: as it is, else UTC.")
]
MonthStartsOn = Annotated[
    int | None, Parameter(help="First day of the user's month, 1 to 31. Default: as it is, else 1.")
]


@app.command(name="set", help_epilogue=examples("tollgate plan set team.json", "tollgate plan set - < team.json"))
async def set_plan(
    file: str,
    /,
    *,
    reason: Reason = "",
    actor: Actor = None,
    expect_version: ExpectVersion = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Set a plan, or replace the one with the same id. It acts on all of its users at once.

    Parameters
    ----------
    file
        A JSON file, or - for stdin: {"id": "team", "name": "Team", "price_usd": "49", "credits_per_day": "10",
        "limits": [{"feature": "video", "unit": "events", "limit": "10", "window": "month"}]}. It may also have
        description, ends_after (such as P1Y: how long a user has it) and notice (what its users should be told).
    """
    record = _read_plan(file)
    async with open_control(find_settings(data_dir)) as store:
        changed = await store.change(
            PLAN_KEY_PREFIX + record.id,
            record.model_dump(mode="json", exclude_none=True),
            actor=actor or system_actor(),
            reason=reason,
            expect_version=expect_version,
        )
    _print(PlanRecord.model_validate(changed.after), as_json=json)


@app.command(name="list", help_epilogue=examples("tollgate plan list", "tollgate plan list --json"))
async def list_plans(*, limit: Limit = LIMIT, json: AsJson = False, data_dir: DataDir = None) -> None:
    """List plans, those that are shipped too, and how many users have each."""
    async with open_control(find_settings(data_dir)) as store:
        plans, assignments = _plans(store), store.assignments()
    default = assignments.pop("default", None)
    users: dict[str, int] = {}
    for assignment in assignments.values():
        users[assignment.plan] = users.get(assignment.plan, 0) + 1
    shown = first([plans[plan_id] for plan_id in sorted(plans)], limit)
    if json:
        print_json(
            [
                _as_json(plan)
                | {"users": users.get(plan.id, 0), "default": default is not None and default.plan == plan.id}
                for plan in shown
            ]
        )
        return
    rows = [
        (
            plan.id,
            plan.name,
            plan.price_usd,
            ", ".join(map(_limit, plan.limits)),
            plan.credits_per_day,
            plan.ends_after or "",
            "everybody else" if default is not None and default.plan == plan.id else users.get(plan.id, 0),
        )
        for plan in shown
    ]
    print_table(("ID", "NAME", "USD A MONTH", "LIMITS", "CREDITS A DAY", "ENDS AFTER", "USERS"), rows, right=(2, 4))


@app.command(help_epilogue=examples("tollgate plan show free", "tollgate plan show free --json"))
async def show(
    id: str,  # noqa: A002 # its name in --help
    /,
    *,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show a plan. Exit 1 when the id is unknown.

    Parameters
    ----------
    id
        The plan's id: see `tollgate plan list`.
    """
    async with open_control(find_settings(data_dir)) as store:
        plan = _plans(store).get(id)
    if plan is None:
        raise AnswerIsNoError(f"there is no plan {id!r}: see `tollgate plan list`.")
    _print(plan, as_json=json)


@app.command(help_epilogue=examples("tollgate plan remove team --reason 'nobody has it any more'"))
async def remove(
    id: str,  # noqa: A002 # its name in --help
    /,
    *,
    reason: Reason = "",
    actor: Actor = None,
    expect_version: ExpectVersion = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Remove a plan that nobody has. A shipped plan that was replaced is as shipped again. Exit 1 when the id is
    unknown or somebody has the plan.

    Parameters
    ----------
    id
        The plan's id: see `tollgate plan list`.
    """
    async with open_control(find_settings(data_dir)) as store:
        try:
            await store.change(
                PLAN_KEY_PREFIX + id,
                None,
                actor=actor or system_actor(),
                reason=reason,
                expect_version=expect_version,
            )
        except NoRecordError:
            if id in shipped_plans():
                raise AnswerIsNoError(f"the plan {id} is shipped and cannot be removed.") from None
            raise AnswerIsNoError(f"there is no plan {id!r}: see `tollgate plan list`.") from None
    if json:
        print_json({"removed": id})
    else:
        print_line(f"removed {id}")


@app.command(
    help_epilogue=examples(
        "tollgate plan assign u-42 pro",
        "tollgate plan assign u-42 pro --timezone Asia/Tokyo --month-starts-on 15 --reason upgrade",
    )
)
async def assign(
    user: str,
    plan: str,
    /,
    *,
    since: str | None = None,
    timezone: Timezone = None,
    month_starts_on: MonthStartsOn = None,
    reason: Reason = "",
    actor: Actor = None,
    expect_version: ExpectVersion = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Give a user a plan. What was used before counts; an upgrade frees at once.

    Parameters
    ----------
    user
        The user's id, as in usage events.
    plan
        The plan's id: see `tollgate plan list`.
    since
        When the user got it, RFC 3339 with offset. Default: as it is when the plan stays, else now.
    """
    given = {"plan": plan, "since": since, "timezone": timezone, "month_starts_on": month_starts_on}
    await _assign(_key_of(user), given, reason, actor, expect_version, json, data_dir)


@app.command(help_epilogue=examples("tollgate plan unassign u-42 --reason 'subscription ended'"))
async def unassign(
    user: str,
    /,
    *,
    reason: Reason = "",
    actor: Actor = None,
    expect_version: ExpectVersion = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Take a user's own plan away; then the default plan holds, if there is one. Exit 1 when they have none.

    Parameters
    ----------
    user
        The user's id, as in usage events.
    """
    async with open_control(find_settings(data_dir)) as store:
        try:
            await store.change(
                _key_of(user), None, actor=actor or system_actor(), reason=reason, expect_version=expect_version
            )
        except NoRecordError:
            raise AnswerIsNoError(f"the user {user[:64]!r} has no plan of their own.") from None
    if json:
        print_json({"removed": user})
    else:
        print_line(f"{user} has no plan of their own any more; the default plan holds, if there is one")


@app.command(help_epilogue=examples("tollgate plan default free", "tollgate plan default free --timezone Asia/Tokyo"))
async def default(
    plan: str,
    /,
    *,
    timezone: Timezone = None,
    month_starts_on: MonthStartsOn = None,
    reason: Reason = "",
    actor: Actor = None,
    expect_version: ExpectVersion = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Set the plan of everybody without one of their own. It acts on all of them at once, and does not end.

    Parameters
    ----------
    plan
        The plan's id: see `tollgate plan list`.
    """
    given = {"plan": plan, "since": None, "timezone": timezone, "month_starts_on": month_starts_on}
    await _assign(DEFAULT_ASSIGNMENT_KEY, given, reason, actor, expect_version, json, data_dir)


async def _assign(
    key: str,
    given: dict[str, Any],
    reason: str,
    actor: str | None,
    expect_version: int | None,
    as_json: bool,
    data_dir: Path | None,
) -> None:
    """Make the assignment; what is not given stays as it is."""
    async with open_control(find_settings(data_dir)) as store:
        held = store.get(key)
        before = held.value if held is not None else {}
        kept: dict[str, Any] = {name: before[name] for name in ("timezone", "month_starts_on") if name in before}
        if before.get("plan") == given["plan"] and "since" in before:
            kept["since"] = before["since"]
        value = {"since": format_instant(time.time_ns() // 1_000_000)} | kept
        value |= {name: field for name, field in given.items() if field is not None}
        changed = await store.change(
            key, value, actor=actor or system_actor(), reason=reason, expect_version=expect_version
        )
        plan = _plans(store)[value["plan"]]
    stored = AssignmentRecord.model_validate(changed.after)
    if as_json:
        print_json({"key": key} | stored.model_dump(mode="json"))
    else:
        who = "everybody else" if key == DEFAULT_ASSIGNMENT_KEY else key.removeprefix(ASSIGNMENT_KEY_PREFIX)
        day = f", months from day {stored.month_starts_on}" if stored.month_starts_on != 1 else ""
        print_line(f"{who} has {plan.name} ({plan.id}) since {stored.since}, {stored.timezone}{day}")
    if plan.notice:
        say(plan.notice)


def _key_of(user: str) -> str:
    scope = scope_of(Dimension.USER, user)
    try:
        parse_scope(scope)
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    return ASSIGNMENT_KEY_PREFIX + scope


def _plans(store: ControlStore) -> dict[str, PlanRecord]:
    return shipped_plans() | store.plans()


def _read_plan(file: str) -> PlanRecord:
    try:
        text = sys.stdin.buffer.read(_FILE_BYTES_MAX + 1) if file == "-" else _content(Path(file))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from None
    if len(text) > _FILE_BYTES_MAX:
        raise UsageError(f"{file} is larger than {_FILE_BYTES_MAX} bytes.")
    try:
        given = json_module.loads(text)
    except (ValueError, RecursionError):
        raise UsageError(f"{file} is not JSON.") from None
    if not isinstance(given, dict):
        raise UsageError(f"{file} is no plan: it must be one JSON object.")
    unknown = _unknown_fields(given)
    if unknown:
        raise UsageError(f"{file} is no plan: {unknown[0][:64]!r} is no field of one.")
    try:
        return PlanRecord.model_validate(given)
    except ValidationError as error:
        raise UsageError(f"{file} is no plan: {describe_faults(error)}.") from None


def _content(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.read(_FILE_BYTES_MAX + 1)


def _unknown_fields(given: dict[str, Any]) -> list[str]:
    """A field that is spelled wrong must not be lost: it may be the one that limits."""
    limits = given.get("limits")
    parts = [part for part in limits if isinstance(part, dict)] if isinstance(limits, list) else []
    of_limits = [f"limits.{name}" for part in parts for name in part if name not in PlanLimitRecord.model_fields]
    return [*(name for name in given if name not in PlanRecord.model_fields), *of_limits]


def _limit(limit: PlanLimitRecord) -> str:
    what = f"{limit.feature} " if limit.feature else ""
    return f"{limit.limit} {what}{limit.unit} a {limit.window.value}"


def _as_json(plan: PlanRecord) -> dict[str, Any]:
    return plan.model_dump(mode="json")


def _print(plan: PlanRecord, *, as_json: bool) -> None:
    if as_json:
        print_json(_as_json(plan))
        return
    print_line(f"id         {plan.id}")
    print_line(f"name       {plan.name}")
    if plan.description:
        print_line(f"about      {plan.description}")
    print_line(f"price      {plan.price_usd} usd a month")
    for limit in plan.limits:
        print_line(f"limit      {_limit(limit)}")
    print_line(f"credits    {plan.credits_per_day} a day")
    if plan.ends_after:
        print_line(f"ends after {plan.ends_after}")
    if plan.notice:
        print_line(f"notice     {plan.notice}")
    by = f", by {plan.actor}" if plan.actor else ", as shipped"
    print_line(f"version    {plan.version}{by}{f': {plan.reason}' if plan.reason else ''}")
