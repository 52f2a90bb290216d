"""The contract's rules for readers of flags."""

from typing import Any

import pytest

from tollgate.schemas.instants import parse_instant
from tollgate.schemas.outputs import Flag, FlagState
from tollgate.sdk.decision import Decision, HeldFlag, decide

UNTIL = "2026-12-01T00:00:00Z"
BEFORE_MS = parse_instant("2026-11-30T23:59:59.999Z")
UNTIL_MS = parse_instant(UNTIL)


def flag(scope: str = "user/u1", state: str = "blocked", **changes: Any) -> HeldFlag:
    reason = {"ok": "within_budget", "warning": "threshold_reached"}.get(state, "usage_limit_exceeded")
    given = {
        "scope": scope,
        "state": state,
        "blocked": state in ("blocked", "stopped"),
        "reason": reason,
        "since": "2026-11-21T10:00:00Z",
        "until": UNTIL,
        "revision": 1,
    }
    return HeldFlag.of(Flag.model_validate(given | changes))


def test_no_flag_means_ok() -> None:
    assert decide([], BEFORE_MS) == Decision(True, FlagState.OK)
    assert decide([flag(state="ok")], BEFORE_MS) == Decision(True, FlagState.OK)


def test_a_blocked_scope_answers_429() -> None:
    held = flag()
    decision = decide([held], BEFORE_MS)
    assert (decision.allowed, decision.state, decision.http_status) == (False, FlagState.BLOCKED, 429)
    assert (decision.error, decision.scope, decision.flag) == ("usage_limit_exceeded", "user/u1", held.flag)


def test_a_company_wide_stop_answers_503_before_any_other() -> None:
    company = flag("global", "stopped", reason="spending_stopped")
    decision = decide([flag(), company], BEFORE_MS)
    assert (decision.http_status, decision.error, decision.scope) == (503, "spending_stopped", "global")


def test_a_stop_by_hand_has_no_end_and_keeps_its_note() -> None:
    note = "ada stopped all spending: the provider bills twice"
    company = flag("global", "stopped", reason="spending_stopped", action="stop", until=None, note=note)
    decision = decide([flag(), company], UNTIL_MS * 2)
    assert (decision.http_status, decision.error, decision.scope) == (503, "spending_stopped", "global")
    assert decision.flag is not None
    assert decision.flag.note == note


@pytest.mark.parametrize(("now_ms", "allowed"), [(BEFORE_MS, False), (UNTIL_MS, True)])
def test_a_flag_lapses_at_the_first_instant_of_the_next_window(now_ms: int, allowed: bool) -> None:
    assert decide([flag()], now_ms).allowed is allowed


def test_a_flag_without_end_holds() -> None:
    assert not decide([flag(until=None)], UNTIL_MS * 2).allowed


def test_a_call_is_blocked_when_any_of_its_scopes_is() -> None:
    decision = decide([flag("agent/SEO", "warning"), flag("user/u1"), flag("model/x", "ok")], BEFORE_MS)
    assert (decision.allowed, decision.scope) == (False, "user/u1")


def test_a_warning_allows_and_says_what_is_due() -> None:
    decision = decide([flag("agent/SEO", "warning", action="downgrade")], BEFORE_MS)
    assert (decision.allowed, decision.state, decision.http_status, decision.error) == (
        True,
        FlagState.WARNING,
        None,
        None,
    )
    assert decision.flag is not None
    assert decision.flag.action == "downgrade"


def test_of_two_blocks_the_stricter_then_the_longer_decides() -> None:
    later = flag("org/a", until="2026-12-02T00:00:00Z")
    assert decide([later, flag("user/u1")], BEFORE_MS).scope == "org/a"
    assert decide([later, flag("user/u1", "stopped")], BEFORE_MS).scope == "user/u1"


def test_an_unknown_reason_of_a_later_release_blocks_as_a_limit() -> None:
    decision = decide([flag(reason="something_new")], BEFORE_MS)
    assert (decision.http_status, decision.error) == (429, "usage_limit_exceeded")
