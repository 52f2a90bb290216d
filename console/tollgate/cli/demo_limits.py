"""The demo's part about plans, reservations and credits: two new users, who each reach what they may have."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from tollgate.cli.budgets import write_budget
from tollgate.cli.changes import open_control
from tollgate.cli.credits import read_balance
from tollgate.cli.demo_stage import Stage, budget_of, spent_now
from tollgate.cli.exits import UnreachableError
from tollgate.demo import CLIP, VIDEO, Outputs, Work, all_at_once, dollars, one_after_another, until, why_denied
from tollgate.runtime.topic_writing import open_writer
from tollgate.schemas.amounts import PICO
from tollgate.schemas.control import ASSIGNMENT_KEY_PREFIX, default_thresholds
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Balance, CreditKind
from tollgate.schemas.plans import shipped_plans
from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_limits import SPEC_VERSION
from tollgate.schemas.vocabulary import EntryType, WindowKind
from tollgate.sdk import BlockedError, FlagReader

_PLAN: Final = shipped_plans()["free"]
_VIDEOS: Final = next(int(limit.limit) for limit in _PLAN.limits if limit.feature == VIDEO.feature)
_BOUGHT: Final = 300
# Five seconds cost $0.12, and the user pays 25 credits for them.
_VIDEO_CALL: Final = Work(VIDEO, {"video_seconds": 5}, usd="0.15", credits=str(VIDEO.retail_tokens))
_CREDITS_TOO_MANY: Final = "500"

_LIMIT_PICOUSD: Final = PICO
_CALLS_AT_ONCE: Final = 20
# A second costs $0.05, half of what is set aside for it.
_CLIP_CALL: Final = Work(CLIP, {"video_seconds": 1}, usd="0.10")
_OVER_THE_LIMIT: Final = "1.01"

_SECONDS_MAX: Final = 30
_LOOK_AGAIN_SECONDS: Final = 0.1


async def tell_limits(stage: Stage, outputs: Outputs, flags: FlagReader) -> str:
    """A plan limit, credits, and calls at once of which only some are granted. Returns the user with the plan.

    UnreachableError, UnavailableError.
    """
    number = _new_users(outputs)
    trial, agent = f"trial-{number}", f"agent-{number}"
    await _set_up(stage, trial, agent)
    await _tell_plan(stage, flags, trial)
    await _tell_credits(stage, flags, trial)
    await _tell_reservations(stage, outputs, flags, agent)
    return trial


def _new_users(outputs: Outputs) -> int:
    """Users who have spent nothing yet: those of earlier demos of this month have reached their limits."""
    number = 1
    while any(outputs.spent(f"user/{name}-{number}", "lifetime").events for name in ("trial", "agent")):
        number += 1
    return number


async def _set_up(stage: Stage, trial: str, agent: str) -> None:
    settings = stage.settings
    budget = budget_of(f"user/{agent}", _LIMIT_PICOUSD, WindowKind.DAY, default_thresholds())
    await write_budget(settings, budget, "demo", "so that calls at once meet a limit")
    assignment = {"plan": _PLAN.id, "since": format_instant(time.time_ns() // 1_000_000)}
    async with open_control(settings) as store:
        await store.change(f"{ASSIGNMENT_KEY_PREFIX}user/{trial}", assignment, actor="demo", reason="a new user")
    async with open_writer(settings, Topic.ENTRIES) as writer:
        await writer.write(trial.encode(), msgspec.json.encode(_purchase(trial)))
    stage.screen.gap()
    stage.screen.line(
        "plan",
        f"{trial} gets the plan {_PLAN.id}: {_VIDEOS} videos a month, {_PLAN.credits_per_day} free credits a day; "
        f"and buys {_BOUGHT} credits",
    )


def _purchase(user: str) -> dict[str, Any]:
    """The entry of the service that takes payments. Its id is that of the payment, so it counts once."""
    return {
        "specversion": SPEC_VERSION,
        "type": EntryType.CREDIT,
        "source": "shop",
        "id": f"order-{user}",
        "subject": user,
        "time": format_instant(time.time_ns() // 1_000_000),
        "data": {"credits": _BOUGHT, "kind": CreditKind.PURCHASE},
    }


async def _tell_plan(stage: Stage, flags: FlagReader, trial: str) -> None:
    screen = stage.screen
    granted = str(_BOUGHT + int(_PLAN.credits_per_day))
    await _balance(stage, trial, lambda found: found.granted == granted)
    made = await one_after_another(flags, trial, _VIDEO_CALL, _VIDEOS)
    screen.news(
        f"{trial} makes {made} videos: each sets ${_VIDEO_CALL.usd} and {_VIDEO_CALL.credits} credits aside first, "
        "and settles what it cost"
    )
    names = {"user": trial, "feature": VIDEO.feature}
    if not await until(lambda: not flags.check(**names).allowed, _SECONDS_MAX):
        raise UnreachableError(f"{trial} may still make videos: see `tollgate status`.")
    decision = flags.check(**names)
    screen.news(f"{trial} asks for video {made + 1} and gets {decision.http_status} {decision.error}")
    if decision.flag is not None and decision.flag.note:
        screen.line("", decision.flag.note)


async def _tell_credits(stage: Stage, flags: FlagReader, trial: str) -> None:
    burned = str(_VIDEOS * VIDEO.retail_tokens)
    balance = await _balance(stage, trial, lambda found: found.burned == burned and found.reserved == "0")
    stage.screen.news(
        f"{trial} was granted {balance.granted} credits, has burned {balance.burned} and has {balance.available} left"
    )
    denied = await why_denied(flags, trial, credits=_CREDITS_TOO_MANY)
    if denied is not None:
        _tell_denial(stage, f"{trial} asks for {_CREDITS_TOO_MANY} credits and gets", denied)


async def _tell_reservations(stage: Stage, outputs: Outputs, flags: FlagReader, agent: str) -> None:
    deadline = time.monotonic() + _SECONDS_MAX
    while await why_denied(flags, agent, usd=_OVER_THE_LIMIT) is None:
        if time.monotonic() > deadline:
            raise UnreachableError(f"the budget of {agent} is not in force: see `tollgate status`.")
    denied = await all_at_once(flags, agent, _CLIP_CALL, _CALLS_AT_ONCE)
    made = _CALLS_AT_ONCE - len(denied)
    stage.screen.news(
        f"{agent} may spend {dollars(_LIMIT_PICOUSD)} a day and makes {_CALLS_AT_ONCE} calls at once, each sets "
        f"${_CLIP_CALL.usd} aside: {made} granted, {len(denied)} denied"
    )
    if denied:
        _tell_denial(stage, "the others get", denied[0])
    scope = f"user/{agent}"
    await until(lambda: outputs.spent(scope, "lifetime").events == made, _SECONDS_MAX)
    spent = spent_now(outputs, scope, WindowKind.DAY)
    stage.screen.news(f"{agent} has spent {dollars(spent)}: the calls cost less, and the rest is free again")


def _tell_denial(stage: Stage, who: str, denied: BlockedError) -> None:
    stage.screen.news(f"{who} {denied.http_status} {denied.error}")
    stage.screen.line("", denied.message)


async def _balance(stage: Stage, user: str, wanted: Callable[[Balance], bool]) -> Balance:
    """The user's balance once it is as wanted. UnreachableError when it does not become so."""
    deadline = time.monotonic() + _SECONDS_MAX
    while True:
        found = await read_balance(stage.settings, user)
        if found is not None and wanted(found):
            return found
        if time.monotonic() > deadline:
            raise UnreachableError(f"the credits of {user} are not counted: see `tollgate status`.")
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
