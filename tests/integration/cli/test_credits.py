"""`tollgate credits`, and what `why` and `spend` say of plans, credits, reservations and calendars."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.cli.conftest import Ran, write
from tests.support.live_records import balance_record, flag_record

from tollgate.runtime.settings import Settings
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import USAGE_PARTITIONS, Topic

pytestmark = pytest.mark.integration

Tollgate = Callable[..., Ran]
OWNER = partition_of(b"u1", USAGE_PARTITIONS)


def test_credits_are_granted_shown_and_told_in_their_history(tollgate: Tollgate, settings: Settings) -> None:
    until = "2027-01-01T00:00:00Z"
    made = tollgate("credits", "grant", "u1", "100", "--kind", "purchase", "--expires", until, "--id", "pay-1")
    assert (made.status, made.out) == (0, f"100 credits (purchase) granted to u1 until {until}, as pay-1\n")
    # Twice under one id is once in the history, as for the worker.
    assert tollgate("credits", "grant", "u1", "100", "--kind", "purchase", "--id", "pay-1").status == 0
    back = tollgate("credits", "grant", "u1", "-20.5", "--kind", "correction", "--note", "a mistake", "--json")
    assert (back.status, back.json["credits"], back.json["note"]) == (0, "-20.5", "a mistake")
    assert tollgate("credits", "grant", "u2", "7", "--kind", "bonus").status == 0
    audit = tollgate("audit", "--key", "credit/u1/", "--json").json
    assert [(one["after"]["credits"], one["reason"]) for one in audit] == [
        ("-20.5", "a mistake"),
        ("100", ""),
        ("100", ""),
    ]
    told = tollgate("credits", "history", "u1", "--json").json
    assert [(one["credits"], one["kind"], one["expires_at"]) for one in told] == [
        ("-20.5", "correction", None),
        ("100", "purchase", until),
    ]
    assert tollgate("credits", "show", "u1").status == 1
    write(settings, Topic.BALANCES, (OWNER, b"u1", balance_record("u1"), ()))
    assert tollgate("credits", "show", "u1", "--json").json["available"] == "15"
    assert "bucket     15 of a purchase, until 2027-01-01T00:00:00Z" in tollgate("credits", "show", "u1").out
    # A plan gives its free credits at once, to whoever has an account and to whoever has none yet.
    for user in ("u1", "u3"):
        assert tollgate("plan", "assign", user, "free").status == 0
    shown = tollgate("credits", "show", "u1", "--json").json
    assert (shown["available"], shown["granted"], shown["free_today"]) == ("25", "30", "10")
    shown = tollgate("credits", "show", "u3", "--json").json
    assert (shown["available"], shown["free_today"], shown["buckets"]) == ("10", "10", [])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("1.5e3", "--kind", "bonus"), "credits: must be a decimal number"),
        (("0", "--kind", "bonus"), "credits: must not be zero"),
        (("1", "--kind", "gift"), "kind"),
        (("1",), "kind"),
        (("1", "--kind", "bonus", "--expires", "soon"), "expires_at"),
        (("1", "--kind", "bonus", "--actor", "a" * 257), "actor is longer than 256 characters"),
    ],
)
def test_a_grant_that_is_wrong_says_so_in_one_sentence(
    tollgate: Tollgate, arguments: tuple[str, ...], text: str
) -> None:
    ran = tollgate("credits", "grant", "u1", *arguments)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert text in ran.err


def test_why_explains_plan_credits_combinations_and_reservations(tollgate: Tollgate, settings: Settings) -> None:
    assert tollgate("plan", "assign", "u1", "free", "--timezone", "Asia/Tokyo").status == 0
    write(settings, Topic.BALANCES, (OWNER, b"u1", balance_record("u1", reserved="3"), ()))
    pair = "user/u1+feature/video"
    flag = flag_record(
        pair, unit="events", limit="10", spent="10", note="10 of 10 video events are used: change to a larger plan"
    )
    write(settings, Topic.FLAGS, (OWNER, pair.encode(), flag, ()))
    decision: dict[str, Any] = {
        "reservation_id": "r-1",
        "source": "chat-api",
        "user": "u1",
        "granted": False,
        "amount_usd": "1",
        "credits": "0",
        "expires_at": "2026-11-21T10:01:00Z",
        "http_status": 429,
        "error": "usage_limit_exceeded",
        "message": "0.2 usd are left.",
        "decided_at": "2026-11-21T10:00:00Z",
    }
    write(settings, Topic.DECISIONS, (0, b"chat-api", json.dumps(decision).encode(), ()))
    ran = tollgate("why", "user/u1")
    assert (ran.status, ran.out.splitlines()) == (
        1,
        [
            "user/u1 is not blocked: ok",
            "plan     Free (free), days and months of Asia/Tokyo, 10 free credits a day",
            "credits  25 available, 3 reserved",
            "also     user/u1+feature/video is blocked: 10 of 10 video events are used: change to a larger plan",
            "reserve  2026-11-21T10:00:00Z r-1 of chat-api denied (429 usage_limit_exceeded): 0.2 usd are left.",
        ],
    )
    found = tollgate("why", "user/u1", "--json").json
    assert (found["plan"]["id"], found["credits"]["reserved"]) == ("free", "3")
    assert [one["reservation_id"] for one in found["reservations"]] == ["r-1"]
    blocked = tollgate("why", pair, "--json")
    assert (blocked.status, blocked.json["blocked_by"], blocked.json["http_status"]) == (0, pair, 429)


def test_spend_is_that_of_the_calendar_that_is_asked_for(tollgate: Tollgate, settings: Settings) -> None:
    scope = "user/u1+feature/video"
    month = {"kind": "month", "start": "2026-10-31T15:00:00Z", "end": "2026-11-30T15:00:00Z", "timezone": "Asia/Tokyo"}
    value = {"scope": scope, "window": month, "spent_usd": "7", "events": 3, "updated_at": "2026-11-18T11:00:00Z"}
    other = {**value, "spent_usd": "9", "window": {**month, "start": "2026-10-15T00:00:00Z", "timezone": "UTC"}}
    write(
        settings,
        Topic.SPEND,
        (OWNER, f"{scope}|month@Asia/Tokyo|2026-10-31T15:00:00Z".encode(), json.dumps(value).encode(), ()),
        (OWNER, f"{scope}|month@UTC~15|2026-10-15T00:00:00Z".encode(), json.dumps(other).encode(), ()),
    )
    assert tollgate("budget", "set", scope, "--limit", "10", "--timezone", "Asia/Tokyo").status == 0
    at = ("--at", "2026-11-18T11:06:40Z")
    found = tollgate("spend", scope, "--timezone", "Asia/Tokyo", *at, "--json").json
    assert (found["spent_usd"], found["window"], found["budgets"][0]["percent"]) == ("7", month, "70.00")
    assert "2026-11-30T15:00:00Z (Asia/Tokyo)" in tollgate("spend", scope, "--timezone", "Asia/Tokyo", *at).out
    anchored = tollgate("spend", scope, "--month-starts-on", "15", "--at", "2026-11-01T00:00:00Z", "--json").json
    assert anchored["spent_usd"] == "9"
    unknown = tollgate("spend", scope, "--window", "week", *at)
    assert (unknown.status, "no budget or plan needs it" in unknown.err) == (1, True)
    wrong = tollgate("spend", scope, "--timezone", "Mars/Olympus")
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)
