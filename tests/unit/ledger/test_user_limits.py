"""Which scopes of a call limit a reservation, and which calls a block leaves alone."""

from dataclasses import replace

from tests.support.accounts import policy

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.reservations import Blocked
from tollgate.ledger.user_limits import UserLimits
from tollgate.schemas.vocabulary import Dimension, Shape

NAMES = {"model": "gpt-4o", "org": "acme", "feature": "video"}


def limits_of(*shapes: tuple[Dimension, ...], latest: dict[str, Blocked] | None = None) -> UserLimits:
    given = policy(shared_flags=(latest or {}).get)
    given.budgets.shapes = tuple(Shape(shape) for shape in shapes)
    return UserLimits(given, lambda _: None)


def test_the_users_own_scope_comes_first_and_combinations_need_all_their_names() -> None:
    limits = limits_of(
        (Dimension.USER, Dimension.FEATURE), (Dimension.USER, Dimension.AGENT), (Dimension.ORG, Dimension.MODEL)
    )
    assert limits.scopes_of("u1", NAMES) == ("user/u1", "user/u1+feature/video")
    assert limits.scopes_of("u1", {}) == ("user/u1",)


def test_the_blocked_scopes_of_a_call_are_global_its_names_and_their_combinations() -> None:
    latest = {scope: Blocked(scope, "usage_limit_exceeded") for scope in ("global", "org/acme", "org/other")}
    latest["org/acme+model/gpt-4o"] = Blocked("org/acme+model/gpt-4o", "usage_limit_exceeded")
    limits = limits_of((Dimension.ORG, Dimension.MODEL), latest=latest)
    assert [flag.scope for flag in limits.blocked("u1", NAMES, 0)] == ["global", "org/acme", "org/acme+model/gpt-4o"]


def test_a_block_lapses_at_its_end_to_the_millisecond() -> None:
    limits = limits_of(latest={"org/acme": Blocked("org/acme", "usage_limit_exceeded", until_ms=1000)})
    assert list(limits.blocked("u1", NAMES, 999))
    assert not list(limits.blocked("u1", NAMES, 1000))


def test_a_block_leaves_alone_the_calls_that_it_excepts() -> None:
    for excepted, is_alone in (
        (("model/gpt-4o",), True),
        (("model/other", "feature/video"), True),
        (("user/u1+model/gpt-4o",), True),
        (("user/u2+model/gpt-4o",), False),
        (("agent/SEO",), False),
        (("no scope",), False),
        (("global",), False),
    ):
        flag = Blocked("org/acme", "usage_limit_exceeded", except_=excepted)
        limits = limits_of(latest={"org/acme": flag})
        assert (not list(limits.blocked("u1", NAMES, 0))) == is_alone, excepted
        (budget,) = policy({"id": "b", "scope": "user/u1", "limit": "1"}).budgets
        given = policy()
        given = replace(given, budgets=_book(replace(budget, except_=excepted)))
        found = UserLimits(given, lambda _: None).positions("user/u1", "u1", NAMES, 0)
        assert (not list(found)) == is_alone, excepted


def _book(budget: Budget) -> BudgetBook:
    return BudgetBook([budget])
