"""Nobody sees the numbers of another user or org, by whatever method and whatever they ask for."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.integration.numbers.story import NOW
from tests.integration.numbers.test_sums import at

from tollgate.console.numbers import EventFilter, Numbers, ReportFormat, Restriction, report_keys
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.scopes import Dimension
from tollgate.schemas.vocabulary import WindowKind

pytestmark = pytest.mark.integration

YEAR = (at("01-01"), at("12-01"))
NOVEMBER = (at("11-01"), at("12-01"))


async def _text(parts: Any) -> bytes:
    return b"".join([part async for part in parts])


# Every method that answers with numbers of users, asked about eve of globex. What is not here is not narrowed, says so,
# and is for those who may see everything.
ASKED: dict[str, Callable[[Numbers, Restriction], Awaitable[Any]]] = {
    "spend_of": lambda n, r: n.spend_of("user/eve", WindowKind.MONTH, at("11-01"), r),
    "hourly": lambda n, r: n.hourly(r, at("11-28"), at("11-30"), "user/eve"),
    "daily": lambda n, r: n.daily(r, *YEAR, "user/eve"),
    "monthly": lambda n, r: n.monthly(r, *YEAR, "org/globex"),
    "breakdown": lambda n, r: n.breakdown(r, Dimension.MODEL, *NOVEMBER, 100, "user/eve"),
    "top": lambda n, r: n.top(r, Dimension.USER, *NOVEMBER, 100),
    "series": lambda n, r: n.series(r, WindowKind.LIFETIME, *YEAR, "org/globex"),
    "forecast": lambda n, r: n.forecast(r, "user/eve", WindowKind.MONTH, parse_instant(NOW)),
    "cards": lambda n, r: n.cards(r, "eve", *YEAR),
    "events": lambda n, r: n.events(r, EventFilter({Dimension.USER: "eve"}), 100),
    "user": lambda n, r: n.user(r, "eve", parse_instant(NOW)),
    "trends": lambda n, r: n.trends(r, Dimension.USER, ["eve"], *YEAR),
    "report_start": lambda n, r: n.report_start(r, report_keys(["user", "org", "model"]), *YEAR, 100),
    "export": lambda n, r: _text(n.export(r, report_keys(["user", "org", "model"]), *YEAR, ReportFormat.JSON)),
}  # fmt: skip
NOT_NARROWED = {
    *("flags_history", "alerts_history", "audit", "dead_letters", "written_to", "spends_of", "near"),
    *("sum_of", "credit_entries", "decisions"),
}
NOT_ASKING = {"start", "stop"}

# What would show of eve: their org, what they spent, their events.
OF_EVE = ("globex", "48.1", "32.1", "'16'", "48100000000001", "e1", "e2", "e3")
RESTRICTIONS = [
    Restriction(user="ann"),
    Restriction(user="bob", org="acme"),
    Restriction(org="acme"),
    # Their token names an org that is not theirs.
    Restriction(user="eve", org="acme"),
    Restriction(user="ann", org="globex"),
    Restriction(user="nobody"),
    Restriction(org="*"),
    Restriction(user="eve' OR '1'='1"),
    Restriction(user="%"),
]


def test_the_table_has_every_method() -> None:
    methods = {name for name, _ in inspect.getmembers(Numbers, inspect.isfunction) if not name.startswith("_")}
    assert methods - NOT_ASKING == set(ASKED) | (NOT_NARROWED & methods)


@pytest.mark.parametrize("restriction", RESTRICTIONS, ids=str)
@pytest.mark.parametrize("method", ASKED)
async def test_nothing_of_another_is_in_the_answer(numbers: Numbers, method: str, restriction: Restriction) -> None:
    text = str(await ASKED[method](numbers, restriction))
    assert [sign for sign in OF_EVE if sign in text] == []


@pytest.mark.parametrize("method", ASKED)
async def test_their_own_is(numbers: Numbers, method: str) -> None:
    for restriction in (Restriction(user="eve"), Restriction(org="globex"), Restriction(user="eve", org="globex")):
        if method == "spend_of" and restriction != Restriction(user="eve"):
            # What an org sees of a user is not a sum that the worker keeps.
            continue
        text = str(await ASKED[method](numbers, restriction))
        assert [sign for sign in OF_EVE if sign in text], restriction


async def test_answers_to_equal_questions_are_not_shared_between_restrictions(numbers: Numbers) -> None:
    everything = await numbers.daily(Restriction(), *NOVEMBER)
    ann = await numbers.daily(Restriction(user="ann"), *NOVEMBER)
    acme = await numbers.daily(Restriction(org="acme"), *NOVEMBER)
    assert [series.items[0].cost_usd for series in (everything, ann, acme)] == ["4.5", "4.5", "4.5"]
    assert [series.items[27].cost_usd for series in (everything, ann, acme)] == ["24", "0", "8"]
