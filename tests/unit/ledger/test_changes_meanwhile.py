"""Limits, plans and credits that change while reservations are open or a window ends, through the first stage."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.accounts import BOOK, USER, Bench, policy, release, reservation, usage
from tests.support.cores import CORES
from tests.support.usage import TIME_MS

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.plans import Assignment, Plan, Plans
from tollgate.domain.pricing import Pricer
from tollgate.ledger import Policy
from tollgate.ledger.core import Core
from tollgate.schemas.amounts import NANO
from tollgate.schemas.control import BudgetRecord, PlanRecord
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.topics import DAY_MS

SCOPE = f"user/{USER}"
VIDEOS = f"{SCOPE}+feature/video"
MIDNIGHT = parse_instant("2026-11-22T00:00:00Z")


@pytest.fixture(params=CORES)
def core(request: pytest.FixtureRequest) -> Core:
    found: Core = request.param
    return found


def budget(limit: str, **changes: Any) -> Budget:
    given = {"id": "b1", "scope": SCOPE, "limit": limit, "updated_at": "2026-11-01T00:00:00Z"} | changes
    return Budget.from_record(BudgetRecord.model_validate(given))


def plan(name: str, videos: int, **changes: Any) -> Plan:
    limits = [{"feature": "video", "limit": str(videos)}]
    return Plan.from_record(PlanRecord.model_validate({"name": name, "limits": limits} | changes))


def with_plans(plans: Plans, *budgets: Budget) -> Policy:
    return Policy(BudgetBook(budgets, plans), lambda: Pricer(BOOK))


def change(of: Bench, changed: dict[str, Budget | None], plans: Plans | None = None) -> None:
    """Set or remove budgets, as a worker that follows the control topic does."""
    of.policy = replace(of.policy, budgets=of.policy.budgets.changed(changed, plans))
    of.stage.set_policy(of.policy)


def told(of: Bench, scope: str = SCOPE) -> tuple[str, ...]:
    flag = of.flags[scope]
    return tuple(str(flag.get(name)) for name in ("state", "limit", "reserved", "can_exceed_by"))


def why(of: Bench) -> tuple[Any, ...]:
    """What stood in the way of the last reservation."""
    return tuple(of.decisions[-1].get(name) for name in ("http_status", "budget", "spent", "reserved", "available"))


def test_a_budget_that_is_set_while_reservations_are_open_counts_what_they_hold(core: Core) -> None:
    """Also of a user who has spent nothing yet."""
    of = Bench(policy(), core)
    of.send(reservation("r1", "0.60"))
    of.write()
    assert not of.flags
    change(of, {"b1": budget("1")})
    of.write()
    assert told(of) == ("ok", "1", "0.6", "0")
    change(of, {"b1": budget("0.50")})
    of.write()
    assert told(of) == ("ok", "0.5", "0.6", "0.1")
    of.send(reservation("r2", "0.01"))
    of.write()
    assert why(of) == (429, "b1", "0", "0.6", "0")
    change(of, {"b1": None})
    of.send(reservation("r3", "9"))
    of.write()
    assert of.granted() == ["r1", "r3"]


def test_a_budget_on_a_combination_counts_the_open_reservations_that_have_its_names(core: Core) -> None:
    of = Bench(policy(), core)
    of.send(reservation("r1", "0.60", feature="video"), reservation("r2", "7", feature="chat"), reservation("r3", "7"))
    of.write()
    change(of, {"b1": budget("1", scope=VIDEOS)})
    of.send(reservation("r4", "0.41", feature="video"))
    of.write()
    assert why(of) == (429, "b1", "0", "0.6", "0.4")
    # What was spent on videos before is not known yet, and so is not by how much the limit can be exceeded.
    assert (told(of, VIDEOS), of.flags[VIDEOS]["incomplete"]) == (("ok", "1", "0.6", "None"), True)
    of.send(reservation("r5", "0.40", feature="video"), reservation("r6", "7"))
    of.write()
    of = of.restarted()
    # 0.30 of the 0.60 were needed: 0.30 spent, 0.40 held, 0.30 left.
    of.send(usage("e1", cost_usd="0.30", feature="video", reservation_id="r1"))
    of.send(reservation("r7", "0.30", feature="video"), reservation("r8", "0.01", feature="video"))
    of.write()
    assert why(of) == (429, "b1", "0.3", "0.7", "0")
    assert of.granted() == ["r1", "r2", "r3", "r5", "r6", "r7"]


def test_a_call_that_one_block_leaves_alone_and_another_does_not_is_blocked(core: Core) -> None:
    excepted: dict[str, Any] = {"except": ["provider/groq"]}
    month = budget("1", id="month", **excepted)
    of = Bench(replace(policy(), budgets=BudgetBook([month, budget("1", id="day", window="day")])), core)
    of.send(usage("e1", cost_usd="1.00"), reservation("r1", provider="groq"))
    of.write()
    assert (of.flags[SCOPE]["budget"], of.flags[SCOPE]["blocked"], "except" in of.flags[SCOPE]) == (
        "month",
        True,
        False,
    )
    assert why(of) == (429, "day", "1", "0", "0")
    change(of, {"day": budget("2", id="day", window="day")})
    of.send(reservation("r2", provider="groq"), reservation("r3", provider="openai"))
    of.write()
    assert of.flags[SCOPE]["except"] == ["provider/groq"]
    assert of.granted() == ["r2"]
    assert why(of) == (429, "month", "1", "0.1", "0")


def test_money_calls_and_credits_are_all_there_or_nothing_is_held(core: Core) -> None:
    of = Bench(with_plans(Plans(default=Assignment("free")), budget("1")), core)
    video = {"feature": "video"}
    of.send(reservation("r1", "0.60", credits="6", **video), reservation("r2", "0.60", credits="6", **video))
    of.write()
    # Both the money and the credits are short: the limit is told.
    assert why(of) == (429, "b1", "0", "0.6", "0.4")
    of.send(reservation("r3", "0.40", credits="5", **video))
    of.write()
    assert why(of) == (402, None, None, "6", "4")
    of.send(reservation("r4", "0.40", credits="4", **video))
    of.send(*(usage(f"v{n}", cost_usd="0", **video) for n in range(8)), reservation("r5", "0", **video))
    of.write()
    # The 8 calls and the 2 that are open are the ten of the plan.
    assert why(of) == (429, "plan/free/video/events", "8", "2", "0")
    of.send(usage("e1", cost_usd="0.50", retail_tokens=3, reservation_id="r1", **video), release("r4"))
    of.write()
    assert (of.balances[USER]["available"], of.balances[USER]["burned"]) == ("7", "3")
    of.send(reservation("r6", "0.51", credits="7", **video), reservation("r7", "0.50", credits="7", **video))
    of.write()
    assert of.granted() == ["r1", "r4", "r7"]
    assert (of.balances[USER]["available"], of.balances[USER]["reserved"]) == ("0", "7")
    assert told(of) == ("ok", "1", "0.5", "0")


def test_a_reservation_counts_in_the_day_that_begins_and_its_call_in_the_day_in_which_it_was_made(core: Core) -> None:
    of = Bench(replace(policy(), budgets=BudgetBook([budget("1", window="day")])), core)
    of.send(reservation("r1", "0.60", ttl_seconds=120), timestamp=MIDNIGHT - 30_000)
    of.send(reservation("r2", "0.41"), timestamp=MIDNIGHT - 1)
    of.write(MIDNIGHT - 1)
    assert why(of) == (429, "b1", "0", "0.6", "0.4")
    of.send(reservation("r3", "0.41"), reservation("r4", "0.40"), timestamp=MIDNIGHT)
    of.write(MIDNIGHT)
    call = usage("e1", cost_usd="0.90", reservation_id="r1") | {"time": "2026-11-21T23:59:59.999Z"}
    of.send(call, reservation("r5", "0.60"), reservation("r6", "0.01"), timestamp=MIDNIGHT + 10_000)
    of.write(MIDNIGHT + 10_000)
    assert why(of) == (429, "b1", "0", "1", "0")
    assert of.granted() == ["r1", "r4", "r5"]
    spend = of.stage.scopes.spend.find(SCOPE)
    assert spend is not None
    yesterday = spend.window("day", MIDNIGHT - DAY_MS)
    assert yesterday is not None
    assert yesterday.cost_picousd == 9 * 10**11
    assert spend.window("day", MIDNIGHT) is None


def test_a_flag_says_in_the_next_window_what_is_still_open_with_no_record(core: Core) -> None:
    of = Bench(replace(policy(), budgets=BudgetBook([budget("1", window="day")])), core)
    of.send(reservation("r1", "0.60", ttl_seconds=120), timestamp=MIDNIGHT - 30_000)
    of.write(MIDNIGHT - 30_000)
    said = []
    for now_ms in (MIDNIGHT - 1, MIDNIGHT, MIDNIGHT + 89_999, MIDNIGHT + 90_000):
        of.stage.tick(now_ms)
        of.write(now_ms)
        said.append((of.flags[SCOPE].get("reserved"), of.flags[SCOPE]["until"], of.flags[SCOPE]["revision"]))
    assert said == [
        ("0.6", "2026-11-22T00:00:00Z", 1),
        ("0.6", "2026-11-23T00:00:00Z", 2),
        ("0.6", "2026-11-23T00:00:00Z", 2),
        (None, "2026-11-23T00:00:00Z", 3),
    ]


@pytest.mark.parametrize("asks_between", [False, True])
def test_a_debt_is_paid_by_each_day_whether_anybody_asked_on_it_or_not(core: Core, asks_between: bool) -> None:
    of = Bench(policy(free=(10 * NANO, "Asia/Tokyo")), core)
    of.send(usage("e1", retail_tokens=25))
    of.write()
    assert of.balances[USER]["available"] == "-15"
    if asks_between:
        of.send(reservation("r1", None, credits="1"), timestamp=TIME_MS + DAY_MS)
        of.write()
        assert (of.decisions[-1]["http_status"], of.balances[USER]["available"]) == (402, "-5")
    of = of.restarted()
    of.send(reservation("r2", None, credits="5"), timestamp=TIME_MS + 2 * DAY_MS)
    of.write()
    assert of.granted() == ["r2"]
    assert [of.balances[USER][name] for name in ("available", "reserved", "granted", "burned")] == [
        "0",
        "5",
        "30",
        "25",
    ]


def test_who_has_a_plan_that_is_removed_has_the_default_one_until_it_is_there_again(core: Core) -> None:
    team = plan("Team", 3)
    plans = Plans({"team": team}, {USER: Assignment("team")}, Assignment("free"))
    of = Bench(with_plans(plans), core)
    of.send(*(usage(f"v{n}", cost_usd="0", feature="video") for n in range(3)), reservation("r1", feature="video"))
    of.write()
    assert told(of, VIDEOS) == ("blocked", "3", "None", "None")
    assert why(of) == (429, "plan/team/video/events", "3", "0", "0")
    without = plans.changed({"team": None})
    change(of, {}, without)
    of.send(reservation("r2", feature="video"))
    of.write()
    assert told(of, VIDEOS) == ("ok", "10", "1", "0")
    change(of, {}, without.changed({"team": team}))
    of.send(reservation("r3", feature="video"))
    of.write()
    assert told(of, VIDEOS) == ("blocked", "3", "1", "1")
    assert why(of) == (429, "plan/team/video/events", "3", "1", "0")
    assert of.granted() == ["r2"]


def test_at_the_millisecond_at_which_a_plan_ends_the_default_plans_limits_and_credits_hold(core: Core) -> None:
    trial = plan("Trial", 100, ends_after="P1D")
    end = TIME_MS + 60_000
    plans = Plans({"trial": trial}, {USER: Assignment("trial", end - DAY_MS)}, Assignment("free"))
    of = Bench(with_plans(plans), core)
    of.send(*(usage(f"v{n}", cost_usd="0", feature="video") for n in range(12)))
    asked: dict[str, Any] = {"feature": "video", "ttl_seconds": 1}
    of.send(reservation("r1", **asked), reservation("r2", None, credits="1", **asked), timestamp=end - 1)
    of.send(reservation("r3", **asked), reservation("r4", None, credits="10"), timestamp=end)
    of.write(end)
    assert of.granted() == ["r1", "r4"]
    denied = [one for one in of.decisions if not one["granted"]]
    assert [(one["http_status"], one.get("budget"), one.get("spent")) for one in denied] == [
        (402, None, None),
        (429, "plan/free/video/events", "12"),
    ]
    assert told(of, VIDEOS)[:2] == ("blocked", "10")
