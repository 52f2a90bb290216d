"""Users: what one of them has done and spent; `GET /me` for themselves."""

from typing import Annotated, Final

from fastapi import APIRouter, Path
from pydantic import ConfigDict, Field

from tollgate.console.access.callers import Caller, Role
from tollgate.console.access.restriction import restriction_of
from tollgate.console.api.asking import ANSWERS, Reader, ThisMonth, now_ms
from tollgate.console.api.flags import FlagNow
from tollgate.console.api.sums import Answer, SumOf
from tollgate.console.api.user_accounts import CardLimit, Credits, PlanNow, card_limits, credits_of, plan_of
from tollgate.console.api.why import StandingNow, standings_of
from tollgate.console.numbers import Card, CountedEvent, Restriction
from tollgate.console.numbers.answers import SignedUsd
from tollgate.console.parts import Parts, TheParts
from tollgate.console.problems import Problem, ProblemBody
from tollgate.console.room import Room
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Amount, FlagState, Instant
from tollgate.schemas.scopes import Dimension, parse_scope, scope_of

router = APIRouter(responses=ANSWERS)

_COMBINATIONS_MAX: Final = 50

UserPath = Annotated[str, Path(max_length=256, description="the user id, percent-encoded", examples=["u-42"])]


class CardOf(Answer):
    """One of a user's four usage cards: `content`, `images`, `videos`, `chats`."""

    name: str
    events: int
    """How many calls: what plans limit."""
    amount: Amount
    """What came of them, in `unit`."""
    unit: str
    cost_usd: SignedUsd
    retail_usd: SignedUsd
    limit: CardLimit | None = None
    """The fullest limit of this moment on what it counts; null where there is none, and for other ranges."""


class UserUsage(Answer):
    """The four cards of a range."""

    model_config = ConfigDict(populate_by_name=True)

    user: str
    from_: Annotated[Instant, Field(alias="from")]
    to: Instant
    cards: list[CardOf]
    as_of: Instant


class UserAnswer(Answer):
    """What a user has done and spent, and whether they are blocked."""

    user: str
    month: SumOf
    lifetime: SumOf
    cards: list[CardOf]
    """Of this month."""
    last_calls: list[CountedEvent]
    """The last ten."""
    flag: FlagNow
    budgets: list[StandingNow]
    """Those that apply to the user, the fullest first, as far as their spend is known."""
    plan: PlanNow | None
    """Null without a plan, and for people of an org."""
    credits: Credits | None
    """Null without an account, and for people of an org."""
    notice: str | None
    """What the user's plan tells its users."""
    combinations: list[FlagNow]
    """Combinations with this user that are warned or blocked, such as one feature; at most 50."""
    as_of: Instant


class MeAnswer(Answer):
    """Who calls, and for the role `user` their numbers."""

    name: str
    role: Role
    user: str
    org: str
    numbers: UserAnswer | None
    """Null for roles that are not of one user."""


@router.get("/me", operation_id="get_me", summary="Show who calls")
async def me(parts: TheParts, caller: Reader) -> MeAnswer:
    """Who the caller is and, with the role `user`, what they have done and spent."""
    numbers = await user_answer(parts, restriction_of(caller), caller.user) if caller.user else None
    return MeAnswer(name=caller.name, role=caller.role, user=caller.user, org=caller.org, numbers=numbers)


@router.get("/users/{id:path}/usage", operation_id="get_user_usage", summary="Show a user's usage cards")
async def show_usage(id: UserPath, parts: TheParts, caller: Reader, within: ThisMonth) -> UserUsage:  # noqa: A002 # the contract's name
    """The four usage cards of a user for a range."""
    asked_ms = now_ms()
    cards = await parts.numbers.cards(seen(caller, id), id, within.from_ms, within.to_ms)
    return UserUsage(
        user=id,
        from_=format_instant(within.from_ms),
        to=format_instant(within.to_ms),
        cards=[CardOf.model_validate(card._asdict()) for card in cards],
        as_of=format_instant(asked_ms),
    )


@router.get(
    "/users/{id:path}/plan",
    operation_id="get_user_plan",
    summary="Show a user's plan",
    responses={404: {"model": ProblemBody, "description": "They have no plan of their own, and there is no default."}},
)
async def show_plan(id: UserPath, parts: TheParts, caller: Reader) -> PlanNow:  # noqa: A002 # the path's name
    """The plan that a user has now, by assignment or by default. Its version goes into If-Match."""
    if seen(caller, id).org and not caller.user:
        raise Problem(403, "not_allowed", "A plan is of a user as a whole, not of one org.")
    plan = plan_of(parts, id, now_ms())
    if plan is None:
        raise Problem(404, "not_found", "The user has no plan, and there is no default plan.")
    return plan


@router.get("/users/{id:path}", operation_id="get_user", summary="Show a user")
async def show_user(id: UserPath, parts: TheParts, caller: Reader) -> UserAnswer:  # noqa: A002 # the path's name
    """What a user has done and spent. A user that was never seen has spent nothing."""
    return await user_answer(parts, seen(caller, id), id)


async def user_answer(parts: Parts, restriction: Restriction, user: str) -> UserAnswer:
    """A user's numbers within the restriction. Their flag and budgets are told where nothing of them is hidden."""
    at_ms = now_ms()
    found = await parts.numbers.user(restriction, user, at_ms)
    scope = scope_of(Dimension.USER, user)
    # An org's people see what a user spent in the org; the user's flag and budgets are about all that they spent.
    is_whole = not restriction.org
    plan = plan_of(parts, user, at_ms) if is_whole else None
    limits = await card_limits(parts, user, at_ms) if is_whole else {}
    return UserAnswer(
        user=user,
        month=SumOf.of(found.month),
        lifetime=SumOf.of(found.lifetime),
        cards=[CardOf.model_validate({**Card._asdict(card), "limit": limits.get(card.name)}) for card in found.cards],
        last_calls=found.last_calls,
        flag=flag_of(parts, restriction, user, at_ms),
        budgets=await _budgets(parts, scope, at_ms) if is_whole else [],
        plan=plan,
        credits=credits_of(parts, user) if is_whole else None,
        notice=plan.notice if plan is not None else None,
        combinations=combinations_of(parts, scope, at_ms) if is_whole else [],
        as_of=format_instant(found.as_of_ms),
    )


def combinations_of(parts: Parts, scope: str, at_ms: int) -> list[FlagNow]:
    """The flags in force of combinations with this name, at most 50."""
    flags = (parts.live.flag(one) for one in parts.live.combinations(scope, at_ms)[:_COMBINATIONS_MAX])
    return [FlagNow.of(flag, at_ms) for flag in flags if flag is not None]


def flag_of(parts: Parts, restriction: Restriction, user: str, at_ms: int) -> FlagNow:
    """The user's flag, which is known from Kafka alone; `ok` for people of an org."""
    scope = scope_of(Dimension.USER, user)
    flag = parts.live.flag(scope) if not restriction.org else None
    if flag is None:
        return FlagNow(scope=scope, state=FlagState.OK, blocked=False, in_force=False)
    return FlagNow.of(flag, at_ms)


async def _budgets(parts: Parts, scope: str, at_ms: int) -> list[StandingNow]:
    known, _ = await standings_of(parts, scope, at_ms)
    return [StandingNow.model_validate(standing.as_json()) for standing in known]


def seen(caller: Caller, user: str) -> Restriction:
    """What the caller may see of a user. Raises Problem: 403 for a user who asks about another, 422 for no id."""
    restriction = restriction_of(caller)
    if restriction.user and restriction.user != user:
        raise Problem(403, "not_allowed", "You may see your own data only.")
    try:
        parse_scope(scope_of(Dimension.USER, user))
    except ValueError as error:
        raise Problem(422, "invalid_request", f"id: {error}.") from None
    return restriction


ROOM: Final = Room("users", api=router)
