"""A budget is crossed step by step: one Slack message follows it up, and a raised limit frees the user at once."""

import json

import pytest
from tests.e2e.conftest import Stack, alert_of
from tests.support.usage import event
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

USER = "rising-user"


def spend(stack: Stack, number: int, usd: str) -> None:
    """One event that costs so much, just now."""
    sent = event(f"rise-{number}", USER, data={"cost_usd": usd})
    stack.tollgate.ok("publish", "-", "--shift-time", "now", stdin=json.dumps(sent) + "\n")


def levels(stack: Stack) -> list[list[str]]:
    """For each message about the user, the levels that its texts went through."""
    found = []
    for message in stack.slack.about(f"user/{USER}"):
        through = [alert_of(body)["level"] for body in message["edits"]]
        found.append([level for i, level in enumerate(through) if i == 0 or through[i - 1] != level])
    return found


def state(stack: Stack) -> str:
    ran = stack.tollgate.run("flags", f"user/{USER}", "--json")
    flags = json.loads(ran.out) if ran.out.strip() else []
    found = flags[0] if isinstance(flags, list) and flags else flags
    return str(found.get("state", "ok")) if isinstance(found, dict) else "ok"


def test_one_message_is_edited_from_warning_to_emergency_and_to_resolved(stack: Stack) -> None:
    stack.tollgate.ok("budget", "set", f"user/{USER}", "--limit", "20")
    path: list[str] = []
    for number, (usd, level) in enumerate([("16", "warning"), ("4", "critical"), ("10", "emergency")]):
        spend(stack, number, usd)
        path.append(level)
        wait_until(lambda: levels(stack) == [path], 60, f"one message with {path}")
    assert state(stack) == "blocked"
    stack.tollgate.ok("budget", "set", f"user/{USER}", "--limit", "100")
    wait_until(lambda: levels(stack) == [[*path, "resolved"]], 60, "the same message, resolved")
    wait_until(lambda: state(stack) == "ok", 30, "the user's freedom")
    assert stack.tollgate.run("why", f"user/{USER}").status in (0, 1)
