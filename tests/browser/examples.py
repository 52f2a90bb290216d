"""Data of the overview, as `GET /api/v1/dashboard` may answer it: dashboard.json, and what differs from it."""

import json
from pathlib import Path
from typing import Any

from tollgate.console.api.users import UserAnswer
from tollgate.console.numbers import Share, Shares
from tollgate.console.pages.overview_model import Dashboard
from tollgate.schemas.outputs import FlagState

FILE = Path(__file__).with_name("dashboard.json")
AS_OF = "2026-11-21T12:01:07Z"

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "=cmd|'/c calc'!A1",
    "a\"b'c\n",
    "../..",
    "user/x|y",
    "\u202egnp.exe",
    "x" * 256,
    "</script><script>alert(1)</script>",
    "{{ 7*7 }}",
]
"""Names that services may send and that try to be something else."""


def example(**different: Any) -> Dashboard:
    """A company in the middle of a month, with these parts in place of its own."""
    return Dashboard.model_validate({**json.loads(FILE.read_text(encoding="utf-8")), **different})


def full() -> Dashboard:
    """Everything is known, and something of each kind is there."""
    return example()


def nothing_yet() -> Dashboard:
    """A fresh start: everything is known, and there is nothing."""
    held = example().model_dump(mode="json")
    nothing: dict[str, Any] = {"items": [], "rest": None}
    zero = {"cost_usd": "0", "retail_usd": "0", "profit_usd": "0", "margin_percent": None, "events": 0}
    lists = ("hours", "days", "projected", "budgets", "calls", "alerts", "blocked")
    return example(
        month={**held["month"], **zero},
        budget=None,
        projection=None,
        shares=dict.fromkeys(held["shares"], nothing),
        users=nothing,
        **{name: [] for name in lists},
        **dict.fromkeys(("budgets_total", "alerts_total", "blocked_total"), 0),
    )


def history_away() -> Dashboard:
    """ClickHouse is away and Kafka's numbers are old."""
    held = example().model_dump(mode="json")
    gone = ("days", "projected", "shares", "users", "calls", "projection")
    old = {"spend": {"as_of": "2026-11-21T11:59:32Z", "stale": True}, "history": {"as_of": None, "stale": True}}
    why = "ClickHouse cannot be reached. It is asked again every few seconds."
    return example(**dict.fromkeys(gone), ages={**held["ages"], **old}, unavailable=dict.fromkeys(gone, why))


def hostile() -> Dashboard:
    """Every name is one that tries to be something else."""
    held = example().model_dump(mode="json")
    some = HOSTILE[:8]
    rows = [{**held["users"]["items"][0], "name": name} for name in some]
    whole = {"items": rows, "rest": None}
    call, block, budget, alert = (held[name][0] for name in ("calls", "blocked", "budgets", "alerts"))
    return example(
        stop={"since": AS_OF, "until": None, "reason": HOSTILE[0], "actor": HOSTILE[7]},
        shares=dict.fromkeys(held["shares"], whole),
        users=whole,
        calls=[{**call, "user": name, "model": name, "service": name} for name in some],
        blocked=[{**block, "scope": f"user/{name}", "why": name} for name in some],
        budgets=[{**budget, "scope": f"user/{name}", "budget": f"user/{name}:month:usd"} for name in some],
        alerts=[{**alert, "key": name, "scope": f"user/{name}", "reason": name} for name in some],
    )


def stopped() -> Dashboard:
    """The whole company is stopped by hand."""
    reason = "A runaway agent: spending is looked into."
    return example(stop={"since": "2026-11-21T11:58:00Z", "until": None, "reason": reason, "actor": "ann@example.com"})


DASHBOARDS = {"full": full, "new": nothing_yet, "away": history_away, "hostile": hostile, "stopped": stopped}

STATES = {"user/u-4812": FlagState.BLOCKED, "user/u-4790": FlagState.WARNING}


def top_users() -> Shares:
    """The users of the overview, and one that names nobody."""
    shown = example().users
    assert shown is not None
    items = [Share(one.name, one.cost_usd, one.retail_usd, one.events, one.percent) for one in shown.items]
    rest = Share("", "3429.37", "5800", 260_914, "87.65")
    return Shares([*items, Share("", "1.5", "0", 12, "0.03")], rest, rest, 1_795_262_467_000)


def user(name: str) -> UserAnswer:
    """A user who is blocked, with something on each card, under this name."""
    held = json.loads(FILE.with_name("user.json").read_text(encoding="utf-8"))
    return UserAnswer.model_validate({**held, "user": name})
