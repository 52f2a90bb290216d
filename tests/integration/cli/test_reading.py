"""Budgets, spend, flags and `why` against topics of a real broker."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.cli.conftest import Ran, write

from tollgate.runtime.settings import Settings
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import USAGE_PARTITIONS, Topic

pytestmark = pytest.mark.integration

Tollgate = Callable[..., Ran]
OWNER = partition_of(b"u1", USAGE_PARTITIONS)
MONTH = {"kind": "month", "start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z", "timezone": "UTC"}
FOREVER = {
    "kind": "lifetime",
    "start": "1970-01-01T00:00:00Z",
    "end": "9999-12-31T23:59:59Z",
    "timezone": "UTC",
}


def spend_value(scope: str, spent: str, window: dict[str, str] = MONTH, **changes: Any) -> bytes:
    value = {
        "scope": scope,
        "window": window,
        "spent_usd": spent,
        "retail_usd": "0",
        "usage": {"input_tokens": "1500", "images": "2.5"},
        "events": 31,
        "updated_at": "2026-11-21T10:00:00Z",
    }
    return json.dumps(value | changes).encode()


def flag_value(scope: str, state: str = "blocked", **changes: Any) -> bytes:
    value = {
        "scope": scope,
        "state": state,
        "blocked": state in ("blocked", "stopped"),
        "action": {"warning": "alert", "blocked": "block", "stopped": "stop"}.get(state),
        "reason": "usage_limit_exceeded",
        "budget": f"{scope}:lifetime:usd",
        "window": FOREVER,
        "limit": "100",
        "unit": "usd",
        "spent": "104.2",
        "percent": "104.20",
        "since": "2026-11-21T10:00:00Z",
        "until": FOREVER["end"],
        "revision": 7,
    }
    return json.dumps(value | changes).encode()


def test_a_budget_is_stored_listed_replaced_and_removed(tollgate: Tollgate) -> None:
    stored = tollgate("budget", "set", "user/u1", "--limit", "100.00", "--action", "stop", "--json").json
    assert (stored["id"], stored["limit"], stored["unit"]) == ("user/u1:month:usd", "100", "usd")
    assert stored["thresholds"] == {
        "warning": {"percent": "80", "action": "alert"},
        "critical": {"percent": "100", "action": "stop"},
        "emergency": {"percent": "150", "action": "stop"},
    }
    more = ["--unit", "images", "--window", "day", "--id", "pictures", "--emergency", "none"]
    assert tollgate("budget", "set", "user/*", "--limit", "2500", *more).status == 0
    assert tollgate("budget", "set", "user/u1", "--limit", "200").status == 0
    listed = tollgate("budget", "list", "--json").json
    assert [(b["id"], b["limit"]) for b in listed] == [("pictures", "2500"), ("user/u1:month:usd", "200")]
    assert "emergency" not in listed[0]["thresholds"]
    # What is not set is null, so that programs need not ask whether it is there.
    unset = ("valid_from", "valid_to", "owner", "note")
    assert [{name: budget[name] for name in unset} for budget in (stored, *listed)] == [dict.fromkeys(unset)] * 3
    assert tollgate("budget", "remove", "pictures").status == 0
    gone = tollgate("budget", "remove", "pictures")
    assert (gone.status, gone.err) == (
        1,
        "tollgate: there is no budget 'pictures': see `tollgate budget list`.\n",
    )
    assert [b["id"] for b in tollgate("budget", "list", "--json").json] == ["user/u1:month:usd"]


def test_spend_is_shown_with_the_budgets_of_the_window(tollgate: Tollgate, settings: Settings) -> None:
    tollgate("budget", "set", "user/u1", "--limit", "200")
    tollgate("budget", "set", "user/*", "--limit", "2", "--unit", "images", "--id", "pictures")
    key = b"user/u1|month|2026-11-01T00:00:00Z"
    write(
        settings,
        Topic.SPEND,
        (OWNER, key, spend_value("user/u1", "1"), ()),
        (OWNER, key, spend_value("user/u1", "104.2"), ()),
        (OWNER, b"user/u1|x|month|2026-11-01T00:00:00Z", spend_value("user/u1|x", "9"), ()),
    )
    found = tollgate("spend", "user/u1", "--at", "2026-11-30T23:59:59Z", "--json").json
    assert (found["spent_usd"], found["events"], found["window"]) == ("104.2", 31, MONTH)
    assert [(b["budget"], b["spent"], b["percent"], b["threshold"]) for b in found["budgets"]] == [
        ("pictures", "2.5", "125.00", "critical"),
        ("user/u1:month:usd", "104.2", "52.10", None),
    ]
    shown = tollgate("spend", "user/u1", "--at", "2026-11-01T00:00:00Z").out.splitlines()
    assert shown == [
        "user/u1, month from 2026-11-01T00:00:00Z to 2026-12-01T00:00:00Z",
        "spent   104.2 USD",
        "events  31",
        "usage   images 2.5",
        "usage   input_tokens 1500",
        "budget  pictures: 2.5 of 2 images, 125.00 %",
        "budget  user/u1:month:usd: 104.2 of 200 usd, 52.10 %",
    ]


def test_nothing_spent_is_zero_and_no_error(tollgate: Tollgate) -> None:
    ran = tollgate("spend", "agent/SEO", "--window", "hour", "--at", "2026-11-21T10:59:59Z", "--json")
    assert (ran.status, ran.json["spent_usd"], ran.json["events"], ran.json["usage"]) == (0, "0", 0, {})
    assert ran.json["window"]["end"] == "2026-11-21T11:00:00Z"


def test_flags_in_force_are_listed_and_past_ones_only_with_all(tollgate: Tollgate, settings: Settings) -> None:
    past = flag_value("user/u1", until="2026-11-01T00:00:00Z")
    write(
        settings,
        Topic.FLAGS,
        (OWNER, b"user/u1", past, ()),
        (0, b"agent/SEO", flag_value("agent/SEO", "warning"), ()),
        (0, b"org/acme", flag_value("org/acme", "ok"), ()),
    )
    assert [(f["scope"], f["in_force"]) for f in tollgate("flags", "--json").json] == [("agent/SEO", True)]
    assert [(f["scope"], f["in_force"]) for f in tollgate("flags", "--all", "--json").json] == [
        ("agent/SEO", True),
        ("org/acme", False),
        ("user/u1", False),
    ]
    assert tollgate("flags", "user/u1").out == "user/u1 is ok\n"
    assert tollgate("flags", "user/u1", "--json").json == []


def test_why_gives_budget_numbers_events_and_next_steps(tollgate: Tollgate, settings: Settings) -> None:
    tollgate("budget", "set", "user/u1", "--limit", "100", "--window", "lifetime")
    write(settings, Topic.FLAGS, (OWNER, b"user/u1", flag_value("user/u1"), ()))
    write(
        settings,
        Topic.SPEND,
        (OWNER, b"user/u1|lifetime|1970-01-01T00:00:00Z", spend_value("user/u1", "104.2", FOREVER), ()),
    )
    write(
        settings,
        Topic.PRICED,
        *(
            (OWNER, user, json.dumps(priced(user.decode(), f"e{minute}", minute)).encode(), ())
            for user, minute in ((b"u1", 5), (b"u1", 9), (b"other", 8), (b"u1", 7))
        ),
    )
    ran = tollgate("why", "user/u1", "--json", "--events", "2")
    assert ran.status == 0
    found = ran.json
    assert (found["blocked_by"], found["http_status"], found["error"]) == ("user/u1", 429, "usage_limit_exceeded")
    assert (found["since"], found["until"]) == ("2026-11-21T10:00:00Z", FOREVER["end"])
    assert [(b["budget"], b["percent"], b["action"]) for b in found["budgets"]] == [
        ("user/u1:lifetime:usd", "104.20", "block")
    ]
    assert [(e["event_id"], e["cost_usd"]) for e in found["last_events"]] == [("e9", "0.0035"), ("e7", "0.0035")]
    assert found["last_events_from"] == "the priced topic"
    command = "tollgate budget set user/u1 --limit HIGHER --unit usd --window lifetime --id user/u1:lifetime:usd"
    assert found["next_steps"] == [
        f"raise it above 104.2: {command}",
        "or remove it: tollgate budget remove user/u1:lifetime:usd",
    ]
    shown = tollgate("why", "user/u1").out
    assert "user/u1 is blocked: services answer 429 usage_limit_exceeded" in shown
    assert "104.2 of 100 usd per lifetime, 104.20 %" in shown


def priced(user: str, event_id: str, minute: int) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "source": "tests",
        "time": f"2026-11-21T10:{minute:02}:00Z",
        "kind": "usage",
        "user": user,
        "provider": "openai",
        "model": "gpt-4o",
        "status": "success",
        "usage": {"input_tokens": 1000},
        "cost_usd": "0.0035",
        "retail_usd": "0",
        "price_id": "p",
        "price_status": "priced",
        "source_partition": 0,
        "source_offset": minute,
        "version": 1,
    }


def test_why_of_a_free_scope_says_so_with_exit_1(tollgate: Tollgate, settings: Settings) -> None:
    ran = tollgate("why", "user/u1")
    assert (ran.status, ran.out) == (1, "user/u1 is not blocked: ok\n")
    write(settings, Topic.FLAGS, (OWNER, b"user/u1", flag_value("user/u1", "warning"), ()))
    ran = tollgate("why", "user/u1")
    assert ran.status == 1
    assert ran.out.startswith("user/u1 is not blocked: warning since 2026-11-21T10:00:00Z, 104.2 of 100 usd")


def test_a_combination_is_blocked_where_one_of_its_names_is(tollgate: Tollgate, settings: Settings) -> None:
    flag = flag_value("user/u1", "blocked", **{"except": ["provider/groq"]})
    write(settings, Topic.FLAGS, (OWNER, b"user/u1", flag, ()))
    found = tollgate("why", "user/u1+feature/video", "--json").json
    assert (found["scope"], found["blocked_by"], found["http_status"]) == ("user/u1+feature/video", "user/u1", 429)
    shown = tollgate("why", "user/u1+feature/video").out
    assert "user/u1+feature/video is blocked, by the limit of user/u1: services answer 429" in shown
    left_alone = tollgate("why", "user/u1+provider/groq")
    assert (left_alone.status, left_alone.out) == (1, "user/u1+provider/groq is not blocked: ok\n")


def test_a_company_wide_stop_explains_any_scope(tollgate: Tollgate, settings: Settings) -> None:
    stop = flag_value("global", "stopped", reason="spending_stopped")
    write(settings, Topic.FLAGS, (1, b"global", stop, ()))
    found = tollgate("why", "user/u1", "--json").json
    assert (found["scope"], found["blocked_by"], found["http_status"]) == ("user/u1", "global", 503)
