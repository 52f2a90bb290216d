"""A call that is blocked, as the HTTP answer for whoever made the request. Works with every web framework."""

import json
import secrets
import time
from http import HTTPStatus
from typing import Final, NamedTuple

from tollgate.schemas.instants import parse_instant
from tollgate.sdk.decision import Decision
from tollgate.sdk.errors import BlockedError

_LIMIT_EXCEEDED: Final = "usage_limit_exceeded"
# A lifetime ends in the year 9999, which is no time to wait for; nothing else ends after the year 3000.
_WAIT_UNTIL_MS_MAX: Final = 32_503_680_000_000


class Answer(NamedTuple):
    """An HTTP answer, in the order in which frameworks take one.

    Flask returns it from a view as it is; `starlette.Response(*answer)`;
    `django.http.HttpResponse(answer.body, status=answer.status, headers=answer.headers)`.
    """

    body: bytes
    status: int
    headers: dict[str, str]

    @property
    def error(self) -> str:
        """The body's `error`."""
        return str(json.loads(self.body)["error"])

    @property
    def status_line(self) -> str:
        """As WSGI wants it: `429 Too Many Requests`."""
        return f"{self.status} {HTTPStatus(self.status).phrase}"


def answer_of(blocked: Decision | BlockedError, *, request_id: str | None = None, now_ms: int | None = None) -> Answer:
    """402 `insufficient_credits`, 429 `usage_limit_exceeded` or 503 `spending_stopped` and `limits_unknown`, in JSON.

    The body has `error`, `message`, `scope`, `budget`, `limit`, `spent`, `unit`, `until` and `request_id`, null where
    nothing is known; money is text. `Retry-After` says in how many whole seconds, rounded up, the limit's window ends;
    it is left out where there is no end. `request_id` is made when absent.

    ValueError for a decision that allows the call.
    """
    if isinstance(blocked, Decision) and blocked.allowed:
        raise ValueError("the call is allowed: there is nothing to answer")
    error = str(blocked.error or _LIMIT_EXCEEDED)
    body = {
        "error": error,
        "message": blocked.message,
        "scope": blocked.scope,
        "budget": blocked.budget,
        "limit": blocked.limit,
        "spent": blocked.spent,
        "unit": blocked.unit,
        "until": blocked.until,
        "request_id": request_id or secrets.token_hex(16),
    }
    # Escaped to ASCII, so that no name in it can be taken for anything else.
    headers = {"Content-Type": "application/json"}
    seconds = _retry_after(blocked, now_ms)
    if seconds is not None:
        headers["Retry-After"] = str(seconds)
    return Answer(json.dumps(body).encode(), blocked.http_status or 429, headers)


def refusal_of(message: str) -> Answer:
    """400 `invalid_name`: a request whose usage could not be recorded, because no event may have such a name."""
    body = {"error": "invalid_name", "message": message, "request_id": secrets.token_hex(16)}
    return Answer(json.dumps(body).encode(), 400, {"Content-Type": "application/json"})


def _retry_after(blocked: Decision | BlockedError, now_ms: int | None) -> int | None:
    seconds = blocked.retry_after_seconds
    if seconds is None and blocked.until is not None:
        until_ms = parse_instant(blocked.until)
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        seconds = max(0, -((now_ms - until_ms) // 1000)) if until_ms < _WAIT_UNTIL_MS_MAX else None
    return seconds
