"""Budgets, prices and tokens are changed with a name on them, and the audit says so."""

import getpass
import json
from collections.abc import Callable

import pytest
from tests.integration.cli.conftest import Ran, records_of, write

from tollgate.runtime.settings import Settings
from tollgate.schemas.tokens import TokenRecord, parse_token_text
from tollgate.schemas.topics import Topic

pytestmark = pytest.mark.integration

Run = Callable[..., Ran]

KEY = "budget/global:month:usd"
RLO = "\u202e"


def test_a_change_carries_who_made_it_and_why(tollgate: Run) -> None:
    made = tollgate("budget", "set", "global", "--limit", "100", "--json").json
    assert (made["version"], made["actor"], made["reason"]) == (1, f"cli:{getpass.getuser()}", "")
    raised = ("budget", "set", "global", "--limit", "150", "--actor", "alice", "--reason", "holidays", "--json")
    changed = tollgate(*raised).json
    assert (changed["version"], changed["actor"], changed["reason"]) == (2, "alice", "holidays")
    (listed,) = tollgate("budget", "list", "--json").json
    assert listed == changed
    header, row = tollgate("budget", "list").out.splitlines()
    assert header.split()[-3:] == ["VERSION", "UPDATED", "BY"]
    assert row.split()[-1] == "alice"


def test_the_audit_tells_every_change_the_latest_first(tollgate: Run) -> None:
    tollgate("budget", "set", "global", "--limit", "100")
    tollgate("budget", "set", "global", "--limit", "150", "--warning", "70", "--actor", "alice", "--reason", "holidays")
    tollgate("budget", "set", "user/u1", "--limit", "5", "--actor", "bob")
    tollgate("budget", "remove", "user/u1:month:usd", "--actor", "bob", "--reason", "left")
    told = tollgate("audit", "--json").json
    assert [(r["actor"], r["action"], r["key"], r["version"]) for r in told] == [
        ("bob", "remove", "budget/user/u1:month:usd", 2),
        ("bob", "set", "budget/user/u1:month:usd", 1),
        ("alice", "set", KEY, 2),
        (f"cli:{getpass.getuser()}", "set", KEY, 1),
    ]
    assert [(r["before"] or {}).get("limit") for r in told] == ["5", None, "100", None]
    shown = tollgate("audit", "--key", KEY, "--limit", "1")
    assert "limit 100 → 150, thresholds.warning.percent 80 → 70" in shown.out
    assert "1 older changes are not shown" in shown.err
    assert len(tollgate("audit", "--key", "budget/", "--json").json) == 4
    assert tollgate("audit", "--key", "price/", "--json").json == []


def test_another_version_than_the_expected_one_changes_nothing_and_says_who_was_faster(tollgate: Run) -> None:
    assert tollgate("budget", "set", "global", "--limit", "1", "--expect-version", "0").status == 0
    assert tollgate("budget", "set", "global", "--limit", "2", "--expect-version", "1", "--actor", "bob").status == 0
    for words in (("set", "global", "--limit", "3"), ("remove", "global:month:usd")):
        refused = tollgate("budget", *words, "--expect-version", "1")
        assert refused.status == 1
        assert "you expected version 1, and it is at version 2, changed by bob at 20" in refused.err
        assert refused.err.count("\n") == 1
    (kept,) = tollgate("budget", "list", "--json").json
    assert kept["limit"] == "2"
    assert tollgate("budget", "remove", "global:month:usd", "--expect-version", "2").status == 0
    gone = tollgate("budget", "set", "global", "--limit", "3", "--expect-version", "2")
    assert (gone.status, "it does not exist any more" in gone.err) == (1, True)


def test_a_price_has_versions_too(tollgate: Run) -> None:
    rate = ("--rate", "input_tokens=3/1M", "--from", "2026-01-01T00:00:00Z")
    made = tollgate("price", "set", "openai/gpt-4o", *rate, "--reason", "new contract", "--json").json
    assert (made["version"], made["reason"]) == (1, "new contract")
    assert tollgate("price", "set", "openai/gpt-4o", *rate, "--expect-version", "0").status == 1
    assert tollgate("price", "remove", made["id"], "--expect-version", "1", "--actor", "bob").status == 0
    removed, _ = tollgate("audit", "--key", "price/", "--json").json
    assert (removed["actor"], removed["before"]["rates"][0]["usd"], removed["after"]) == ("bob", "3", None)


def test_a_budget_that_cannot_be_read_can_be_removed(tollgate: Run, settings: Settings) -> None:
    write(settings, Topic.CONTROL, (0, KEY.encode(), b'{"limit": "-1"}', ()))
    assert tollgate("budget", "remove", "global:month:usd").status == 0
    assert tollgate("budget", "remove", "global:month:usd").status == 1


def test_hostile_names_reach_no_terminal(tollgate: Run) -> None:
    assert tollgate("budget", "set", f"user/a{RLO}b", "--limit", "5", "--reason", f"x{RLO}y").status == 0
    assert RLO not in tollgate("audit").out
    assert RLO not in tollgate("budget", "list").out
    assert tollgate("budget", "set", "global", "--limit", "5", "--reason", "a\nb").status == 2


def test_a_token_is_shown_once_and_kept_as_a_hash(tollgate: Run, settings: Settings) -> None:
    made = tollgate("token", "create", "--role", "service", "--name", "chat-api", "--expires", "30d", "--json").json
    assert sorted(made) == ["id", "role", "token"]
    parts = parse_token_text(made["token"])
    assert parts is not None
    assert (parts.id, made["role"]) == (made["id"], "service")
    (stored,) = [r.value for r in records_of(settings, Topic.CONTROL) if r.key == f"token/{made['id']}".encode()]
    assert TokenRecord.model_validate_json(stored).matches(parts.secret)
    assert parts.secret.encode() not in stored
    everything = (
        tollgate("token", "list", "--json").out + tollgate("audit", "--json").out + tollgate("token", "list").out
    )
    assert parts.secret not in everything
    assert json.loads(stored)["hash"] not in everything
    (listed,) = tollgate("token", "list", "--json").json
    assert (listed["id"], listed["name"], listed["expired"]) == (made["id"], "chat-api", False)


def test_a_revoked_token_is_gone_and_the_audit_knows_it(tollgate: Run) -> None:
    token = tollgate("token", "create", "--role", "user", "--user", "u-42", "--org", "acme", "--json").json
    assert tollgate("token", "revoke", token["id"], "--reason", "leaked").status == 0
    assert tollgate("token", "list", "--json").json == []
    assert tollgate("token", "revoke", token["id"]).status == 1
    removed, _ = tollgate("audit", "--key", f"token/{token['id']}", "--json").json
    assert (removed["reason"], removed["before"]["user"], removed["before"]["org"]) == ("leaked", "u-42", "acme")


@pytest.mark.parametrize(
    "words",
    [
        ("--role", "root"),
        ("--role", "user"),
        ("--role", "viewer", "--user", "u-42"),
        ("--role", "viewer", "--expires", "soon"),
        ("--role", "viewer", "--name", "x" * 257),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(tollgate: Run, words: tuple[str, ...]) -> None:
    refused = tollgate("token", "create", *words)
    assert (refused.status, refused.out) == (2, "")


def test_a_login_link_holds_for_ten_minutes_and_leads_to_the_console(
    tollgate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLGATE_CONSOLE_URL", "https://spend.example.com/")
    link = tollgate("console", "login", "--actor", "alice", "--json").json
    base, code = link["url"].split("/login?code=")
    assert base == "https://spend.example.com"
    parts = parse_token_text(code)
    assert parts is not None
    assert tollgate("token", "list", "--json").json == []
    (listed,) = tollgate("token", "list", "--all", "--json").json
    assert (listed["kind"], listed["role"], listed["name"], listed["id"]) == ("login", "admin", "alice", parts.id)
    assert listed["expires_at"] == link["expires_at"]
    monkeypatch.delenv("TOLLGATE_CONSOLE_URL")
    assert tollgate("console", "login", "--role", "viewer").out.startswith("http://127.0.0.1:8080/login?code=tg_")
    assert tollgate("console", "login", "--role", "service").status == 2


def test_a_preset_is_shown_and_set(tollgate: Run) -> None:
    assert [found["name"] for found in tollgate("budget", "preset", "--json").json] == [
        "monthly-100",
        "studio-412",
        "guard-50-500",
        "agents-1000",
    ]
    assert "add --apply" in tollgate("budget", "preset", "monthly-100").err
    assert tollgate("budget", "list", "--json").json == []
    for name in ("monthly-100", "guard-50-500"):
        applied = tollgate("budget", "preset", name, "--apply", "--json").json
        assert applied["applied"]
    assert {b["id"]: (b["limit"], b["reason"]) for b in tollgate("budget", "list", "--json").json} == {
        "global:month:usd": ("100", "preset monthly-100"),
        "global:month:events": ("4000000", "preset monthly-100"),
        "global:month:images": ("2500", "preset monthly-100"),
        "global:hour:usd": ("50", "preset guard-50-500"),
        "global:day:usd": ("500", "preset guard-50-500"),
    }
    assert "minimum margin of 20 %" in applied["leaves_out"][0]
    assert tollgate("budget", "preset", "nonsense").status == 2
