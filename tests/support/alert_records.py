"""Records of `tollgate.alerts` for tests, as the worker writes them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from tollgate.sinks.alerts import Alert, decode_alert

MONTH = {"kind": "month", "start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z", "timezone": "UTC"}
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

_BY_LEVEL: dict[str, dict[str, Any]] = {
    "warning": {"spent": "80.11", "percent": "80.11", "state": "warning", "action": "alert"},
    "critical": {"spent": "104.2", "percent": "104.20", "state": "blocked", "action": "block"},
    "emergency": {"spent": "151", "percent": "151.00", "state": "blocked", "action": "block"},
    "resolved": {"spent": "151", "percent": "30.20", "limit": "500", "state": "ok", "action": None},
}


def budget_record(
    level: str = "critical", revision: int = 1, scope: str = "user/u-1", **changes: Any
) -> dict[str, Any]:
    """A month's budget of $100 at the level; each revision is a minute after the one before it."""
    numbers = _BY_LEVEL[level]
    return {
        "key": f"budget/user/*:month:usd|{scope}|month|2026-11-01T00:00:00Z",
        "kind": "budget",
        "level": level,
        "scope": scope,
        "budget": "user/*:month:usd",
        "window": MONTH,
        "limit": "100",
        "unit": "usd",
        "reason": f"{scope} has reached {numbers['percent']} % of its month budget of 100 usd",
        "peak_level": level if level != "resolved" else "emergency",
        "peak_percent": numbers["percent"] if level != "resolved" else "151.00",
        "since": "2026-11-21T12:00:00Z",
        "updated_at": (NOON + timedelta(minutes=revision)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "revision": revision,
        **numbers,
        **changes,
    }


def unpriced_record(provider: str = "openai", model: str = "gpt-9", **changes: Any) -> dict[str, Any]:
    """A model without a price."""
    name = f"{provider}/{model}"
    return {
        "key": f"unpriced/{name}",
        "kind": "unpriced",
        "level": "warning",
        "scope": f"model/{model}",
        "state": "ok",
        "action": "alert",
        "reason": f"no price is known for {name}: its events are priced by openai/o1-pro@2025-03-19",
        "provider": provider,
        "model": model,
        "peak_level": "warning",
        "since": "2026-11-21T12:00:00Z",
        "updated_at": "2026-11-21T12:00:00Z",
        "revision": 1,
        **changes,
    }


def decoded(record: dict[str, Any]) -> Alert:
    """The record as the sink reads it."""
    return decode_alert(json.dumps(record).encode())
