"""Records of the topics that the console keeps in memory, as the worker writes them."""

import json
from typing import Any

from tests.support.alert_records import budget_record

from tollgate.domain.windows import window_end, window_start
from tollgate.schemas.instants import format_instant
from tollgate.schemas.vocabulary import WindowKind

LIFETIME_END = "9999-12-31T23:59:59Z"


def flag_record(scope: str, state: str = "blocked", revision: int = 1, **changes: Any) -> bytes:
    """A flag of a monthly budget of $100 that has $104.20; it lasts for ever unless `until` says otherwise."""
    value = {
        "scope": scope,
        "state": state,
        "blocked": state in ("blocked", "stopped"),
        "action": {"warning": "alert", "blocked": "block", "stopped": "stop"}.get(state),
        "reason": "within_budget" if state == "ok" else "usage_limit_exceeded",
        "budget": "user/*:month:usd",
        "window": {"kind": "month", "start": "2026-11-01T00:00:00Z", "end": LIFETIME_END, "timezone": "UTC"},
        "limit": "100",
        "unit": "usd",
        "spent": "104.2",
        "percent": "104.20",
        "since": "2026-11-21T09:00:00Z",
        "until": LIFETIME_END,
        "revision": revision,
    }
    return json.dumps(value | changes).encode()


def spend_record(scope: str, spent: str, kind: WindowKind, at_ms: int, **changes: Any) -> tuple[bytes, bytes]:
    """Key and value of the sum of a scope in the window of this kind at this instant."""
    start_ms = window_start(kind, at_ms)
    start = format_instant(start_ms)
    value = {
        "scope": scope,
        "window": {
            "kind": kind.value,
            "start": start,
            "end": format_instant(window_end(kind, start_ms)),
            "timezone": "UTC",
        },
        "spent_usd": spent,
        "retail_usd": "0",
        "usage": {"input_tokens": "1500"},
        "events": 31,
        "updated_at": format_instant(at_ms),
    }
    return f"{scope}|{kind.value}|{start}".encode(), json.dumps(value | changes).encode()


def alert_record(
    scope: str = "agent/SEO", level: str = "critical", revision: int = 1, **changes: Any
) -> tuple[bytes, bytes]:
    """Key and value of the alert of a monthly budget of $100."""
    record = budget_record(level, revision, scope, **changes)
    return str(record["key"]).encode(), json.dumps(record).encode()


def balance_record(user: str, **changes: Any) -> bytes:
    """The credits of a user without free ones: 15 of a purchase are left."""
    value = {
        "user": user,
        "available": "15",
        "reserved": "0",
        "granted": "20",
        "burned": "5",
        "free_today": "0",
        "free_per_day": "0",
        "free_until": None,
        "buckets": [{"kind": "purchase", "left": "15", "expires_at": "2027-01-01T00:00:00Z"}],
        "revision": 1,
        "updated_at": "2026-11-21T10:00:00Z",
    }
    return json.dumps(value | changes).encode()
