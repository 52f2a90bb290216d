"""Plans and all kinds of budgets are set from the command line; whatever is refused says why and changes nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Ran

pytestmark = pytest.mark.integration

Run = Callable[..., Ran]

_NAMES = ("timezone", "month_starts_on", "fail", "except", "valid_from", "valid_to")
TEAM = {"name": "Team", "limits": [{"feature": "video", "limit": "10"}], "notice": "Prices rise in March."}


def test_plans_are_set_shown_assigned_and_removed(tollgate: Run, tmp_path: Path) -> None:
    file = tmp_path / "team.json"
    file.write_text(json.dumps(TEAM))
    made = tollgate("plan", "set", str(file), "--actor", "ada", "--reason", "new", "--json").json
    assert (made["id"], made["version"], made["actor"]) == ("team", 1, "ada")
    assert [plan["id"] for plan in tollgate("plan", "list", "--json").json] == [
        "creator", "demo", "free", "pro", "team",
    ]  # fmt: skip
    assert "limit      10 video events a month" in tollgate("plan", "show", "free").out
    assert "notice     This is a demo account" in tollgate("plan", "show", "demo").out
    endless = tollgate("plan", "show", "free", "--json").json
    assert (endless["ends_after"], endless["notice"], endless["credits_per_day"]) == (None, None, "10")

    everybody = tollgate("plan", "default", "free", "--json").json
    assert (everybody["key"], everybody["plan"], everybody["timezone"]) == ("assignment/default", "free", "UTC")
    zone = ("--timezone", "Asia/Tokyo", "--month-starts-on", "15")
    first = tollgate("plan", "assign", "u-42", "team", *zone, "--since", "2026-11-01T00:00:00Z", "--json")
    assert "Prices rise in March." in first.err
    assert (first.json["plan"], first.json["timezone"], first.json["since"]) == (
        "team", "Asia/Tokyo", "2026-11-01T00:00:00Z",
    )  # fmt: skip
    # An upgrade keeps the user's calendar, and begins now.
    upgraded = tollgate("plan", "assign", "u-42", "pro", "--expect-version", "1", "--json").json
    assert (upgraded["version"], upgraded["timezone"], upgraded["month_starts_on"]) == (2, "Asia/Tokyo", 15)
    assert upgraded["since"] > first.json["since"]
    listed = {plan["id"]: plan for plan in tollgate("plan", "list", "--json").json}
    assert (listed["pro"]["users"], listed["free"]["default"], listed["pro"]["default"]) == (1, True, False)

    conflict = tollgate("plan", "assign", "u-42", "free", "--expect-version", "1")
    assert conflict.status == 1
    assert "you expected version 1, and it is at version 2" in conflict.err
    assert tollgate("plan", "unassign", "u-42").status == 0
    assert tollgate("plan", "unassign", "u-42").status == 1
    assert tollgate("plan", "remove", "team").status == 0
    told = [(r["action"], r["key"]) for r in tollgate("audit", "--json").json]
    assert told[:3] == [
        ("remove", "plan/team"),
        ("remove", "assignment/user/u-42"),
        ("set", "assignment/user/u-42"),
    ]


def test_what_is_refused_says_why_in_one_sentence_and_changes_nothing(tollgate: Run, tmp_path: Path) -> None:
    def file(content: str) -> str:
        path = tmp_path / "plan.json"
        path.write_text(content)
        return str(path)

    def refused(status: int, sentence: str, *words: str) -> None:
        ran = tollgate(*words)
        assert (ran.status, ran.err) == (status, f"tollgate: {sentence}\n")

    plan = file(json.dumps(TEAM | {"credits_per_day": 0.5}))
    refused(2, f"{plan} is no plan: credits_per_day: Input should be a valid string.", "plan", "set", plan)
    file(json.dumps(TEAM | {"limts": []}))
    refused(2, f"{plan} is no plan: 'limts' is no field of one.", "plan", "set", plan)
    file(json.dumps(TEAM | {"limits": [{"feature": "video", "limit": "-1"}]}))
    refused(2, f"{plan} is no plan: limits.0: limit: must be above 0.", "plan", "set", plan)
    file("[")
    refused(2, f"{plan} is not JSON.", "plan", "set", plan)
    refused(2, "there is no plan 'gold': see `tollgate plan list`.", "plan", "assign", "u1", "gold")
    refused(2, "there is no plan 'gold': see `tollgate plan list`.", "plan", "default", "gold")
    zone = "'assignment/user/u1': timezone: 'Mars/Olympus' is no IANA time zone; one is Europe/Amsterdam."
    refused(2, zone, "plan", "assign", "u1", "free", "--timezone", "Mars/Olympus")
    refused(1, "the plan free is shipped and cannot be removed.", "plan", "remove", "free")
    refused(1, "there is no plan 'gold': see `tollgate plan list`.", "plan", "remove", "gold")
    refused(1, "there is no plan 'gold': see `tollgate plan list`.", "plan", "show", "gold")

    def no_budget(sentence: str, scope: str, *options: str) -> None:
        refused(2, f"this is no budget: {sentence}.", "budget", "set", scope, "--limit", "5", *options)

    no_budget("scope: 'user/u1+user/u2' names the dimension user twice", "user/u1+user/u2")
    no_budget("scope: 'model/m+user/u1' has model before user; write user/… first", "model/m+user/u1")
    no_budget("timezone: 'Mars/X' is no IANA time zone; one is Europe/Amsterdam", "global", "--timezone", "Mars/X")
    no_budget("thresholds: warning (80 %) must not be above critical (70 %)", "global", "--critical", "70")
    no_exception = "except: 'provider/*' is no exception; name a scope such as provider/groq"
    no_budget(no_exception, "global", "--except", "provider/*")
    refused(2, "this is no budget: limit: must be above 0.", "budget", "set", "global", "--limit=-5")
    assert tollgate("audit", "--json").json == []


def test_a_budget_takes_every_option_of_the_contract(tollgate: Run) -> None:
    made = tollgate(
        *("budget", "set", "user/u1+model/gpt-4o", "--limit", "100", "--unit", "credits", "--window", "month"),
        *("--timezone", "Asia/Tokyo", "--month-starts-on", "31", "--warning", "50", "--critical", "90"),
        *("--emergency", "120", "--action", "block", "--fail", "closed"),
        *("--except", "provider/groq", "model/gpt-4o-mini"),
        *("--valid-from", "2026-11-01T00:00:00Z", "--valid-to", "2027-01-01T00:00:00+01:00"),
        *("--owner", "ada", "--note", "trial", "--reason", "asked for", "--expect-version", "0", "--json"),
    ).json  # fmt: skip
    assert made["id"] == "user/u1+model/gpt-4o:month:credits"
    assert {name: made[name] for name in _NAMES} == {
        "timezone": "Asia/Tokyo",
        "month_starts_on": 31,
        "fail": "closed",
        "except": ["provider/groq", "model/gpt-4o-mini"],
        "valid_from": "2026-11-01T00:00:00Z",
        "valid_to": "2026-12-31T23:00:00Z",
    }
    weekly = ("--window", "week", "--week-starts-on", "sunday")
    assert tollgate("budget", "set", "user/*", "--limit", "5", *weekly).status == 0
    shown = tollgate("budget", "list").out
    assert "month@Asia/Tokyo~31" in shown
    assert "week@UTC~sunday" in shown
