"""Open alerts, and commands that hold names, against topics of a real broker."""

import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.cli.conftest import Ran, write
from tests.integration.cli.test_reading import FOREVER, flag_value, spend_value
from tests.support.alert_records import budget_record, unpriced_record

from tollgate.runtime.settings import Settings
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import USAGE_PARTITIONS, Topic

pytestmark = pytest.mark.integration

Tollgate = Callable[..., Ran]
HOSTILE = "u$(touch x)"


def alert(record: dict[str, Any]) -> tuple[int, bytes, bytes, tuple[()]]:
    return 0, record["key"].encode(), json.dumps(record).encode(), ()


def test_open_alerts_are_listed_the_worst_first_and_resolved_ones_on_request(
    tollgate: Tollgate, settings: Settings
) -> None:
    assert tollgate("alerts", "list").err == "All is well: no alert is open.\n"
    records = [budget_record("warning", 1, f"user/{n}") for n in range(3)]
    records += [budget_record("emergency", 1, "user/\x1b[31m\u202e"), unpriced_record()]
    records += [budget_record("resolved", 2, "user/0")]
    write(settings, Topic.ALERTS, *map(alert, records))
    found = tollgate("alerts", "list", "--json").json
    assert [(a["level"], a["scope"]) for a in found] == [
        ("emergency", "user/\x1b[31m\u202e"),
        ("warning", "user/1"),
        ("warning", "user/2"),
        ("warning", "model/gpt-9"),
    ]
    assert len(tollgate("alerts", "list", "--all", "--json").json) == 5
    shown = tollgate("alerts", "list", "--limit", "2")
    assert len(shown.out.splitlines()) == 3
    assert "user/\\x1b[31m\\u202e" in shown.out
    assert shown.err == "2 more: give --limit 4 to see them all.\n"


def test_why_quotes_the_names_in_its_commands(tollgate: Tollgate, settings: Settings) -> None:
    scope = f"user/{HOSTILE}"
    home = partition_of(HOSTILE.encode(), USAGE_PARTITIONS)
    assert tollgate("budget", "set", scope, "--limit", "100", "--window", "lifetime", f"--id=-{HOSTILE}").status == 0
    write(settings, Topic.FLAGS, (home, scope.encode(), flag_value(scope, budget=f"-{HOSTILE}"), ()))
    key = f"{scope}|lifetime|{FOREVER['start']}".encode()
    write(settings, Topic.SPEND, (home, key, spend_value(scope, "104.2", FOREVER), ()))
    steps = tollgate("why", scope, "--json").json["next_steps"]
    raised, removed = (shlex.split(step[step.index("tollgate ") :]) for step in steps)
    assert raised == [
        *("tollgate", "budget", "set", scope, "--limit", "HIGHER", "--unit", "usd", "--window", "lifetime"),
        f"--id=-{HOSTILE}",
    ]
    assert removed == ["tollgate", "budget", "remove", "--", f"-{HOSTILE}"]
    # The command does what it says.
    assert tollgate(*removed[1:]).out == f"removed -{HOSTILE}\n"
