"""A trace published from CSV costs what it costs, everywhere, however often it is published.

`TOLLGATE_TRACE=code.csv` runs the same with the Azure LLM inference trace itself.
"""

import asyncio
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Stack, alert_of
from tests.e2e.make_trace import SAMPLE, lines
from tests.waiting import wait_until

from tollgate.runtime.kafka import read_compacted
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse import connect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

USER = "trace-user"


@dataclass(frozen=True)
class Trace:
    """A file and what it must come to: at 2.50 and 10.00 USD per million tokens."""

    file: Path
    events: int
    cost_usd: str
    limit_usd: str
    percent: str


# 400,990 × 0.0000025 + 40,198 × 0.00001 = 1.002475 + 0.40198
OURS = Trace(SAMPLE, 200, "1.404455", "0.6", "234.07")
# 18,059,974 × 0.0000025 + 245,896 × 0.00001 = 45.149935 + 2.45896
AZURE = Trace(Path(os.environ.get("TOLLGATE_TRACE", "")), 8_819, "47.608895", "20", "238.04")
TRACE = AZURE if os.environ.get("TOLLGATE_TRACE") else OURS


def publish(stack: Stack) -> dict[str, Any]:
    columns = ["time=TIMESTAMP", "usage.input_tokens=ContextTokens", "usage.output_tokens=GeneratedTokens"]
    options = [option for column in columns for option in ("--map", column)]
    for value in ("provider=openai", "model=gpt-4o", f"subject={USER}", "service=code"):
        options += ["--set", value]
    ran = stack.tollgate.ok("publish", str(TRACE.file), "--csv", *options, "--shift-time", "now", "--json")
    summary: dict[str, Any] = ran.json()
    return summary


def months(stack: Stack, scope: str = f"user/{USER}") -> dict[str, dict[str, Any]]:
    """The scope's month windows in the spend topic, by start. The trace's hour may straddle the end of a month."""
    found = asyncio.run(read_compacted(stack.settings, stack.settings.topic(Topic.SPEND)))
    return {key.split("|")[2]: json.loads(v) for key, v in found.items() if key.startswith(f"{scope}|month|")}


def total(stack: Stack) -> tuple[int, Decimal]:
    found = months(stack).values()
    return sum(m["events"] for m in found), sum((Decimal(m["spent_usd"]) for m in found), Decimal(0))


def in_clickhouse(stack: Stack) -> tuple[int, Decimal]:
    query = f"SELECT count(), sum(cost_usd) FROM usage WHERE user = '{USER}'"
    ((events, cost),) = connect(stack.settings).query(query).result_rows
    return int(events), Decimal(cost or 0)


def flag(stack: Stack) -> dict[str, Any]:
    found = asyncio.run(read_compacted(stack.settings, stack.settings.topic(Topic.FLAGS)))
    flag: dict[str, Any] = json.loads(found.get(f"user/{USER}", b'{"state": "ok"}'))
    return flag


@pytest.fixture(scope="module")
def published(stack: Stack) -> Stack:
    """The trace was published once, to a user who has a budget."""
    stack.tollgate.ok("budget", "set", f"user/{USER}", "--limit", TRACE.limit_usd)
    publish(stack)
    return stack


def test_the_sample_is_what_its_recipe_says() -> None:
    assert SAMPLE.read_text(encoding="utf-8").splitlines() == lines()


def test_kafka_clickhouse_and_the_command_line_say_the_same_to_the_last_digit(published: Stack) -> None:
    expected = (TRACE.events, Decimal(TRACE.cost_usd))
    wait_until(lambda: total(published) == expected, 60, f"spend of {expected}")
    wait_until(lambda: in_clickhouse(published) == expected, 60, f"{expected} in ClickHouse")
    lifetime = published.tollgate.ok("spend", f"user/{USER}", "--window", "lifetime", "--json").json()
    assert (lifetime["events"], lifetime["spent_usd"]) == (TRACE.events, TRACE.cost_usd)


def test_a_second_publish_changes_nothing_and_everything_verifies(published: Stack) -> None:
    wait_until(lambda: total(published)[0] == TRACE.events, 60, "the first publish")
    again = publish(published)
    assert again["published"] == TRACE.events
    report = published.tollgate.ok("verify", "--json").json()
    assert report["ok"] is True
    assert total(published) == (TRACE.events, Decimal(TRACE.cost_usd))
    assert in_clickhouse(published) == (TRACE.events, Decimal(TRACE.cost_usd))


def test_the_budget_blocks_the_user_until_the_end_of_the_month(published: Stack) -> None:
    if len(months(published)) > 1:
        pytest.skip("the trace's hour straddles the end of a month, so only a part of it counts against the budget")
    wait_until(lambda: flag(published).get("spent") == TRACE.cost_usd, 60, "the flag")
    found = flag(published)
    assert (found["state"], found["blocked"], found["action"]) == ("blocked", True, "block")
    assert (found["percent"], found["limit"], found["reason"]) == (
        TRACE.percent,
        TRACE.limit_usd,
        "usage_limit_exceeded",
    )
    this_month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    next_month = (this_month + timedelta(days=31)).replace(day=1)
    assert found["until"] == f"{next_month:%Y-%m-%dT%H:%M:%SZ}"
    assert published.tollgate.ok("flags", f"user/{USER}", "--json").json()


def test_one_slack_message_tells_of_the_blocked_user(published: Stack) -> None:
    def level() -> list[str]:
        return [alert_of(m["body"])["level"] for m in published.slack.about(f"user/{USER}")]

    wait_until(lambda: level() == ["emergency"], 60, "one message that says emergency")
