"""A day in a company's life, as the overview's data. Amounts are made from a seed; what tests compare is written out."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from tollgate.console.pages.overview_model import Dashboard
from tollgate.console.pages.shown import exact

SEED = 20261129
NOW = datetime(2026, 11, 21, 12, 1, 7, tzinfo=UTC)
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


def text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def usd(random: Random, low: int, high: int) -> str:
    """An amount in dollars with four decimals."""
    return exact(Decimal(random.randrange(low * 10_000, high * 10_000)) / 10_000)


def window(kind: str = "month") -> dict[str, str]:
    ends = {
        "month": ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
        "day": ("2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"),
        "hour": ("2026-11-21T12:00:00Z", "2026-11-21T13:00:00Z"),
    }
    start, end = ends[kind]
    return {"kind": kind, "start": start, "end": end, "timezone": "UTC"}


def standing(
    scope: str, limit: str, spent: str, percent: str, state: str, *, kind: str = "month", unit: str = "usd"
) -> dict[str, Any]:
    return {
        "budget": f"{scope}:{kind}:{unit}", "scope": scope, "window": window(kind), "unit": unit, "limit": limit, "spent": spent,
        "percent": percent, "left": exact(Decimal(limit) - Decimal(spent)), "state": state,
    }  # fmt: skip


def share(name: str, cost: str, percent: str, events: int, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "cost_usd": cost,
        "retail_usd": exact(Decimal(cost) * 2),
        "events": events,
        "percent": percent,
        **more,
    }


def shares(rows: list[tuple[str, str, str, int]]) -> dict[str, Any]:
    return {"items": [share(*row) for row in rows], "rest": None}


def points(random: Random) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Today's hours, the days, and the days to come."""
    hours, days, projected = [], [], []
    for hour in range(13):
        busy = 1 + 3 * (8 <= hour <= 12)
        cost = usd(random, 2 * busy, 5 * busy)
        hours.append(
            {
                "start": text(datetime(2026, 11, 21, hour, tzinfo=UTC)),
                "cost_usd": cost,
                "retail_usd": exact(Decimal(cost) * 2),
                "events": random.randrange(200, 1600),
            }
        )
    for back in range(30, -1, -1):
        day = datetime(2026, 11, 21, tzinfo=UTC) - timedelta(days=back)
        quiet = day.weekday() >= 5
        cost = usd(random, 70 if quiet else 150, 110 if quiet else 240)
        days.append(
            {
                "start": text(day),
                "cost_usd": cost,
                "retail_usd": exact(Decimal(cost) * Decimal("1.7")),
                "events": random.randrange(4000, 19_000),
            }
        )
    for ahead in range(1, 10):
        day = datetime(2026, 11, 21, tzinfo=UTC) + timedelta(days=ahead)
        middle = 92 if day.weekday() >= 5 else 196
        projected.append(
            {
                "start": text(day),
                "cost_usd": str(middle),
                "low_usd": str(middle - 24 - 2 * ahead),
                "high_usd": str(middle + 28 + 3 * ahead),
            }
        )
    return hours, days, projected


def alert(key: str, level: str, scope: str, reason: str, minutes: int, percent: str | None = None) -> dict[str, Any]:
    since = text(NOW - timedelta(minutes=minutes))
    return {
        "key": key, "kind": "budget" if percent else "unpriced", "level": level, "scope": scope, "state": "ok", "reason": reason, "percent": percent,
        "peak_level": level, "since": since, "updated_at": since, "revision": 1,
    }  # fmt: skip


def calls(random: Random) -> list[dict[str, Any]]:
    models = [
        ("chat", "gpt-4o", "SUPPORT"),
        ("video", "gen-3-alpha-turbo", ""),
        ("images", "flux-pro-1.1", "DESIGN"),
        ("chat", "claude-sonnet-4.5", "CONTENT"),
        ("voice", "eleven-tts", ""),
    ]
    found = []
    for number in range(10):
        service, model, agent = models[number % 5]
        found.append({
            "time": text(NOW - timedelta(seconds=4 * number + 1)), "event_id": f"ev_{number:04}", "user": f"u-{4800 + random.randrange(40)}", "service": service, "model": model,
            "agent": agent, "operation": "completion", "status": "error" if number == 6 else "success", "cost_usd": "0" if number == 6 else ["0.0042", "0.25", "0.04", "0.000025", "0.0312"][number % 5],
            "price_status": "unpriced" if number == 4 else "priced",
        })  # fmt: skip
    return found


def dashboard() -> Dashboard:
    """Everything is known, and something of each kind is there."""
    random = Random(SEED)
    hours, days, projected = points(random)
    since = text(NOW - timedelta(minutes=34))
    return Dashboard.model_validate({
        "as_of": text(NOW), "stop": None,
        "month": {"window": window(), "cost_usd": "3912.441200000012", "retail_usd": "6651.15", "profit_usd": "2738.708799999988", "margin_percent": "41.17", "events": 284_317},
        "budget": standing("global", "5000", "3912.441200000012", "78.24", "ok"),
        "projection": {"usd": "5486.2", "low_usd": "5190", "high_usd": "5812.5", "method": "weekdays", "note": "From the weekdays of the last 28 days; 8 of 10 months end within the range.", "exceeds_at": "2026-11-27T15:00:00Z"},
        "hours": hours, "days": days, "projected": projected,
        "budgets": [
            standing("user/u-4812", "100", "104.2", "104.20", "blocked"),
            standing("campaign/holiday-2026", "1200", "1103.77", "91.98", "warning"),
            standing("agent/SEO", "400", "331.2", "82.80", "warning"),
            standing("global", "5000", "3912.441200000012", "78.24", "ok"),
            standing("service/video", "60", "31.05", "51.75", "ok", kind="day"),
            standing("user/u-4790", "2500", "912", "36.48", "ok", unit="images"),
        ],
        "budgets_total": 23,
        "shares": {
            "service": shares([("chat", "1611.2", "41.18", 201_114), ("video", "1204.25", "30.78", 5_120), ("images", "702.1", "17.94", 31_007), ("voice", "274.4", "7.01", 12_870), ("search", "120.4912", "3.07", 34_206)]),
            "model": shares([("gpt-4o", "1104.02", "28.21", 120_000), ("gen-3-alpha-turbo", "1010.2", "25.82", 4_301), ("flux-pro-1.1", "640.4", "16.36", 16_010), ("claude-sonnet-4.5", "507.18", "12.96", 81_114), ("eleven-tts", "274.4", "7.01", 12_870), ("dream-machine", "194.05", "4.95", 819), ("gpt-5", "120.4", "3.07", 9_003), ("sdxl", "61.7912", "1.57", 14_997)]),
            "agent": shares([("SUPPORT", "840", "21.47", 90_014), ("CONTENT", "511.9", "13.08", 40_200), ("SEO", "331.2", "8.46", 22_118), ("DESIGN", "214.07", "5.47", 7_771), ("AD", "120.5", "3.07", 6_400), ("EMAIL", "98.04", "2.50", 12_009), ("OUTREACH", "51", "1.30", 4_000), ("TREND", "20.2", "0.51", 2_310)]),
            "campaign": {"items": [share("holiday-2026", "1103.77", "28.21", 60_400, state="warning", budget_percent="91.98"), share("spring-teaser", "410.08", "10.48", 20_118, budget_percent="41.00"), share("onboarding", "212.4", "5.42", 18_011)], "rest": None},
        },
        "users": shares([("u-4812", "104.2", "2.66", 2_011), ("u-4790", "96.18", "2.45", 2_250), ("u-4801", "88.4", "2.25", 1_204), ("acme-robot", "71.92", "1.83", 9_118), ("u-4830", "64.5", "1.64", 1_830), ("u-4822", "58.07", "1.48", 990)]),
        "calls": calls(random),
        "alerts": [
            alert("budget/user/u-4812", "critical", "user/u-4812", "user/u-4812 spent $104.20 of $100.00 this month and is blocked until 1 December.", 34, "104.20"),
            alert("budget/campaign/holiday", "warning", "campaign/holiday-2026", "campaign/holiday-2026 spent $1,103.77 of $1,200.00 this month.", 122, "91.98"),
            alert("unpriced/eleven", "warning", "global", "No price is known for elevenlabs eleven-tts-v3 (characters): its events are estimated.", 310),
        ],
        "alerts_total": 3,
        "blocked": [{"scope": "user/u-4812", "state": "blocked", "why": "Spent $104.20 of the $100.00 that the budget user/*:month:usd allows this month.", "budget": "user/*:month:usd", "limit": "100", "unit": "usd", "spent": "104.2", "percent": "104.20", "since": since, "until": "2026-12-01T00:00:00Z"}],
        "blocked_total": 1,
        "ages": {name: {"as_of": text(NOW), "stale": False} for name in ("spend", "flags", "alerts", "control", "history")},
        "unavailable": {},
    })  # fmt: skip


def nothing_yet() -> Dashboard:
    """A fresh start: everything is known, and there is nothing."""
    held = dashboard().model_dump(mode="json")
    none: dict[str, Any] = {
        "month": {**held["month"], "cost_usd": "0", "retail_usd": "0", "profit_usd": "0", "margin_percent": None, "events": 0},
        "budget": None, "projection": None, "hours": [], "days": [], "projected": [], "budgets": [], "budgets_total": 0,
        "shares": {name: {"items": [], "rest": None} for name in held["shares"]}, "users": {"items": [], "rest": None}, "calls": [],
        "alerts": [], "alerts_total": 0, "blocked": [], "blocked_total": 0,
    }  # fmt: skip
    return Dashboard.model_validate({**held, **none})


def history_away() -> Dashboard:
    """ClickHouse is away and Kafka's numbers are old."""
    held = dashboard().model_dump(mode="json")
    why = "ClickHouse cannot be reached. It is asked again every few seconds."
    gone = ("days", "projected", "shares", "users", "calls", "projection")
    ages = {
        **held["ages"],
        "spend": {"as_of": text(NOW - timedelta(seconds=95)), "stale": True},
        "history": {"as_of": None, "stale": True},
    }
    return Dashboard.model_validate(
        {**held, **dict.fromkeys(gone), "ages": ages, "unavailable": dict.fromkeys(gone, why)}
    )


def hostile() -> Dashboard:
    """Every name is one that tries to be something else."""
    held = dashboard().model_dump(mode="json")
    rows = [share(name, "12.5", "11.11", 10) for name in HOSTILE]
    whole = {"items": rows[:8], "rest": None}
    stop = {"since": text(NOW), "until": None, "reason": HOSTILE[0], "actor": HOSTILE[7]}
    return Dashboard.model_validate({
        **held, "stop": stop, "shares": dict.fromkeys(held["shares"], whole), "users": whole,
        "calls": [{**call, "user": name, "model": name, "service": name} for call, name in zip(held["calls"], HOSTILE, strict=False)],
        "blocked": [{**held["blocked"][0], "scope": f"user/{name}", "why": name} for name in HOSTILE[:8]],
        "budgets": [standing(f"user/{name}", "100", "104.2", "104.20", "blocked") for name in HOSTILE[:8]],
        "alerts": [alert(name, "critical", f"user/{name}", name, 1, "104.20") for name in HOSTILE[:8]],
    })  # fmt: skip


def stopped() -> Dashboard:
    """The whole company is stopped by hand."""
    held = dashboard().model_dump(mode="json")
    stop = {
        "since": text(NOW - timedelta(minutes=3)),
        "until": None,
        "reason": "A runaway agent: spending is looked into.",
        "actor": "ann@example.com",
    }
    return Dashboard.model_validate({**held, "stop": stop})
