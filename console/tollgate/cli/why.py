"""`tollgate why`: why a scope is blocked, and what to do about it."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from cyclopts import App

from tollgate.cli.accounts import Account, read_account
from tollgate.cli.budget_reading import read_book
from tollgate.cli.exits import Exit
from tollgate.cli.flags import flag_json, read_flags
from tollgate.cli.last_events import LastEvent, last_events
from tollgate.cli.options import AsJson, DataDir, examples
from tollgate.cli.output import print_json, print_line, print_table
from tollgate.cli.scope_names import checked_scope
from tollgate.cli.services import find_settings
from tollgate.cli.spend_reading import read_spend
from tollgate.domain.standings import standings
from tollgate.domain.why import Why, deciding_scopes, leaves_alone
from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.outputs import Flag, FlagState
from tollgate.schemas.scopes import GLOBAL_SCOPE
from tollgate.schemas.vocabulary import WindowKind
from tollgate.sdk.decision import HeldFlag

app = App(
    name="why",
    help_epilogue=examples(
        "tollgate why user/u-42", "tollgate why user/u-42+feature/video", "tollgate why global --json"
    ),
)

_EVENTS_SHOWN: Final = 10


@app.default
async def why(scope: str, *, events: int = _EVENTS_SHOWN, json: AsJson = False, data_dir: DataDir = None) -> Exit:
    """Explain why calls of SCOPE are blocked: the budget, the numbers, since when, until when, the last events.

    Of a user also their plan, their credits, combinations such as one feature that are blocked, and what was decided
    about their reservations.

    Exit 0 when they are blocked, 1 when they are not. A stop of the whole company blocks every scope, and a block of
    user/u-42 its combinations too.

    Parameters
    ----------
    scope
        user/u-42, agent/SEO, global, …; or a combination: user/u-42+feature/video.
    events
        How many of the last events to show.
    """
    checked_scope(scope)
    settings = find_settings(data_dir)
    now_ms = time.time_ns() // 1_000_000
    account = await read_account(settings, scope, now_ms)
    found: dict[str, HeldFlag] = {}
    for one in deciding_scopes(scope):
        found |= await read_flags(settings, one)
        held = found.get(one)
        if held is not None and _blocks(held, now_ms) and not leaves_alone(held.flag, scope):
            return await _explain(settings, one, scope, held, events, now_ms, account, json)
    held = found.get(scope)
    warned = held is not None and held.in_force(now_ms)
    if json:
        flag = flag_json(held, now_ms) if held is not None else None
        state = held.flag.state.value if held is not None and warned else FlagState.OK.value
        print_json({"scope": scope, "blocked": False, "state": state, "flag": flag, **account.as_json(now_ms)})
    elif held is not None and warned:
        print_line(f"{scope} is not blocked: warning since {held.flag.since}, {_numbers(held.flag)}")
    else:
        print_line(f"{scope} is not blocked: ok")
    if not json:
        account.tell(now_ms)
    return Exit.NO


def _blocks(held: HeldFlag, now_ms: int) -> bool:
    return held.flag.blocked and held.in_force(now_ms)


async def _explain(
    settings: Settings,
    scope: str,
    asked: str,
    held: HeldFlag,
    limit: int,
    now_ms: int,
    account: Account,
    json: bool,
) -> Exit:
    flag = held.flag
    spend = await read_spend(settings, scope)
    found = Why(asked, flag, standings(scope, await read_book(settings), spend, now_ms))
    start_ms = parse_instant(flag.window.start) if flag.window else 0
    end_ms = held.kind.until_ms or now_ms
    events, where = await last_events(settings, scope, start_ms, end_ms, limit) if limit > 0 else ([], "nowhere")
    if json:
        print_json(
            {
                "scope": asked,
                "blocked": True,
                "blocked_by": scope,
                "state": flag.state.value,
                "http_status": found.http_status,
                "error": flag.reason,
                "since": flag.since,
                "until": flag.until,
                "flag": flag_json(held, now_ms),
                "budgets": [standing.as_json() for standing in found.budgets],
                "last_events": [asdict(event) for event in events],
                "last_events_from": where,
                "next_steps": found.next_steps,
                **account.as_json(now_ms),
            }
        )
        return Exit.OK
    _print(found, events, where)
    account.tell(now_ms)
    return Exit.OK


def _print(found: Why, events: Sequence[LastEvent], where: str) -> None:
    asked, flag = found.asked, found.flag
    what = "stop" if flag.budget is None else "limit"
    by = ""
    if asked != flag.scope:
        is_whole = flag.scope == GLOBAL_SCOPE
        by = f", by the whole company's {what} ({flag.scope})" if is_whole else f", by the {what} of {flag.scope}"
    print_line(f"{asked} is {flag.state.value}{by}: services answer {found.http_status} {flag.reason}")
    if flag.note:
        print_line(f"because  {flag.note}")
    print_line(f"since    {flag.since}")
    lifetime = flag.window is not None and flag.window.kind is WindowKind.LIFETIME
    print_line(
        f"until    {'the budget is raised: a lifetime has no end' if lifetime else flag.until or 'further notice'}"
    )
    if flag.budget is not None:
        print_line(f"budget   {flag.budget}: {_numbers(flag)}")
    for standing in found.blocking:
        if standing.budget.id != flag.budget:
            print_line(f"and      {standing.budget.id}: {standing.numbers}")
    if events:
        print_line()
        print_line(f"last events (from {where})")
        rows = [(e.time, e.cost_usd, e.user, e.provider, e.model or e.agent, e.event_id) for e in events]
        print_table(("TIME", "USD", "USER", "PROVIDER", "MODEL", "EVENT"), rows, right=(1,))
    print_line()
    for step in found.next_steps:
        print_line(f"next     {step}")


def _numbers(flag: Flag) -> str:
    window = f" per {flag.window.kind.value}" if flag.window else ""
    return f"{flag.spent} of {flag.limit} {flag.unit}{window}, {flag.percent} %"
