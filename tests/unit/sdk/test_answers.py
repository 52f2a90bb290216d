"""A blocked call as an HTTP answer: the table of decisions in the contract."""

import json
from typing import Any

import pytest

from tollgate.schemas.instants import parse_instant
from tollgate.schemas.output_words import FlagState
from tollgate.schemas.outputs import Decision as ReservationDecision
from tollgate.sdk.answers import answer_of
from tollgate.sdk.decision import ALLOWED, Decision, denied_as_unknown
from tollgate.sdk.errors import BlockedError, UndecidedError
from tollgate.sdk.testing import RecordingTollgate

UNTIL = "2026-12-01T00:00:00Z"
NOW_MS = parse_instant("2026-11-30T23:58:59.500Z")
KEYS = ["error", "message", "scope", "budget", "limit", "spent", "unit", "until", "request_id"]


def denied(error: str, **fields: Any) -> Decision:
    toll = RecordingTollgate()
    toll.deny("user/u-42", error=error, **fields)
    return toll.check(user="u-42")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("insufficient_credits", 402),
        ("usage_limit_exceeded", 429),
        ("spending_stopped", 503),
        ("limits_unknown", 503),
    ],
)
def test_each_error_has_its_status(error: str, status: int) -> None:
    answer = answer_of(denied(error, message="no"))
    assert answer.status == status
    assert answer.error == error


def test_the_body_and_the_headers_are_those_of_the_contract() -> None:
    decision = denied(
        "usage_limit_exceeded", message="m", budget="monthly-user", limit="100", spent="104.2", unit="usd", until=UNTIL
    )
    answer = answer_of(decision, request_id="r-1", now_ms=NOW_MS)
    assert list(json.loads(answer.body)) == KEYS
    assert json.loads(answer.body) == {
        "error": "usage_limit_exceeded",
        "message": "m",
        "scope": "user/u-42",
        "budget": "monthly-user",
        "limit": "100",
        "spent": "104.2",
        "unit": "usd",
        "until": UNTIL,
        "request_id": "r-1",
    }
    # 60.5 s are left.
    assert answer.headers == {"Content-Type": "application/json", "Retry-After": "61"}
    assert answer.status_line == "429 Too Many Requests"


@pytest.mark.parametrize(
    ("now", "seconds"),
    [("2026-11-30T23:59:59.001Z", "1"), ("2026-11-30T23:59:58Z", "2"), (UNTIL, "0"), ("2026-12-01T00:00:01Z", "0")],
)
def test_the_wait_is_in_whole_seconds_rounded_up_and_never_below_zero(now: str, seconds: str) -> None:
    decision = denied("usage_limit_exceeded", message="m", until=UNTIL)
    assert answer_of(decision, now_ms=parse_instant(now)).headers["Retry-After"] == seconds


def test_a_fake_that_denies_says_so_in_words() -> None:
    assert json.loads(answer_of(denied("usage_limit_exceeded")).body)["message"] == "user/u-42 is blocked."
    toll = RecordingTollgate()
    toll.deny("user/u-42", error="insufficient_credits", until=UNTIL)
    with pytest.raises(BlockedError, match="user/u-42 is blocked") as raised, toll.reserve(user="u-42", credits="1"):
        pass
    assert (raised.value.http_status, raised.value.until) == (402, UNTIL)


def test_the_wait_that_a_decision_tells_is_the_one_that_is_answered() -> None:
    decision = denied("usage_limit_exceeded", message="m", until=UNTIL, retry_after_seconds=7)
    assert answer_of(decision, now_ms=NOW_MS).headers["Retry-After"] == "7"


@pytest.mark.parametrize("until", [None, "9999-12-31T23:59:59Z"])
def test_what_does_not_end_has_no_retry_after(until: str | None) -> None:
    assert "Retry-After" not in answer_of(denied("spending_stopped", message="m", until=until)).headers


def test_what_is_not_known_is_null_and_a_request_id_is_made() -> None:
    body = json.loads(answer_of(denied_as_unknown()).body)
    assert list(body) == KEYS
    assert [body[name] for name in ("scope", "budget", "limit", "spent", "unit", "until")] == [None] * 6
    assert body["error"] == "limits_unknown"
    assert body["request_id"] != json.loads(answer_of(denied_as_unknown()).body)["request_id"]


def test_a_denied_reservation_is_answered_with_its_own_numbers() -> None:
    decision = ReservationDecision.model_validate(
        {
            "reservation_id": "r-1",
            "source": "chat",
            "user": "u-42",
            "granted": False,
            "amount_usd": "0.1",
            "credits": "5",
            "expires_at": UNTIL,
            "http_status": 402,
            "error": "insufficient_credits",
            "scope": "user/u-42",
            "limit": "3",
            "spent": "0",
            "unit": "credits",
            "until": UNTIL,
            "message": "u-42 has 3 credits; the call takes 5.",
            "decided_at": "2026-11-30T00:00:00Z",
        }
    )
    answer = answer_of(BlockedError.of(decision), request_id="r-1", now_ms=NOW_MS)
    assert answer.status == 402
    assert answer.headers["Retry-After"] == "61"
    assert json.loads(answer.body) == {
        "error": "insufficient_credits",
        "message": "u-42 has 3 credits; the call takes 5.",
        "scope": "user/u-42",
        "budget": None,
        "limit": "3",
        "spent": "0",
        "unit": "credits",
        "until": UNTIL,
        "request_id": "r-1",
    }


def test_a_reservation_that_nobody_decided_is_answered_as_unknown() -> None:
    answer = answer_of(UndecidedError("no decision in time"))
    assert (answer.status, answer.error) == (503, "limits_unknown")


def test_hostile_names_are_data_in_the_body_and_nowhere_else() -> None:
    scope = 'user/"}\r\nSet-Cookie: a=b\x00\u2028</script>\ud800'
    answer = answer_of(Decision(False, FlagState.BLOCKED, 429, "usage_limit_exceeded", scope, message="m"))
    assert json.loads(answer.body)["scope"] == scope
    assert answer.body.isascii()
    assert b"\n" not in answer.body
    assert set(answer.headers) == {"Content-Type"}


def test_a_call_that_is_allowed_has_no_answer() -> None:
    with pytest.raises(ValueError, match="the call is allowed"):
        answer_of(ALLOWED)
