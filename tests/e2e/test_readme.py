"""The README's examples work as they are printed, except for the addresses."""

import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.e2e.conftest import Stack
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
KAFKA = "127.0.0.1:9092"


# What a service has around the lines that reserve.
AROUND_A_RESERVATION = """
from tollgate.sdk import BlockedError, Tollgate

with Tollgate(kafka="127.0.0.1:9092", source="chat-api") as toll:
    try:
        LINES
    except BlockedError as error:
        print("answer", error.http_status, error.error)
"""


def blocks(language: str) -> list[str]:
    """The README's blocks of code in this language."""
    found = re.findall(r"^```([a-z]*)\n(.*?)^```\n", README, re.DOTALL | re.MULTILINE)
    return [code for name, code in found if name == language]


def limits() -> list[list[str]]:
    """The words of each command of the block about limits."""
    (found,) = [block for block in blocks("") if block.startswith("tollgate budget set")]
    return [shlex.split(line, comments=True)[1:] for line in found.splitlines()]


def run_service(stack: Stack) -> str:
    return run_code(stack, blocks("python")[0])


def run_reservation(stack: Stack) -> str:
    """The lines that reserve, with a connection around them."""
    lines = textwrap.indent(blocks("python")[1], " " * 8).strip()
    return run_code(stack, AROUND_A_RESERVATION.replace("LINES", lines))


def run_code(stack: Stack, code: str) -> str:
    assert KAFKA in code
    code = code.replace(KAFKA, stack.settings.kafka_bootstrap_servers)
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_service_is_counted_and_then_refused(stack: Stack) -> None:
    assert run_service(stack) == ""

    def spent() -> str:
        return str(stack.tollgate.ok("spend", "user/u-42", "--json").json()["spent_usd"])

    # 1,200 × 0.0000025 + 300 × 0.00001
    wait_until(lambda: spent() == "0.006", 30, "the spend of u-42")
    stack.tollgate.ok("budget", "set", "user/u-42", "--limit", "0.005")
    wait_until(lambda: stack.tollgate.run("why", "user/u-42").status == 0, 30, "the block of u-42")
    assert run_service(stack) == "answer 429 usage_limit_exceeded\n"


def test_a_reservation_is_settled_and_then_denied(stack: Stack) -> None:
    def spent() -> str:
        return str(stack.tollgate.ok("spend", "user/u-43", "--json").json()["spent_usd"])

    assert run_reservation(stack) == ""
    wait_until(lambda: spent() == "0.006", 30, "the spend of u-43")
    # 0.006 is spent, and 0.1 asked for.
    stack.tollgate.ok("budget", "set", "user/u-43", "--limit", "0.1")
    wait_until(lambda: run_reservation(stack) == "answer 429 usage_limit_exceeded\n", 30, "a denied reservation")
    stack.tollgate.ok("budget", "remove", "user/u-43:month:usd")


def test_the_commands_about_limits_do_what_they_say(stack: Stack) -> None:
    *commands, show, reserve = limits()
    printed = [stack.tollgate.ok(*words).out for words in commands]
    assert "limit      10 events per week, Asia/Tokyo" in printed[0]
    assert "user/u-43 has Free (free)" in printed[1]
    assert "user/u-43 has Creator (creator)" in printed[2]
    assert "100 credits (purchase) granted to u-43, as order-981" in printed[3]

    def shown() -> str:
        return stack.tollgate.run(*show).out

    # The plan gives ten a day; u-43 has burned none.
    wait_until(lambda: "available  110" in shown(), 30, "the credits of u-43")
    assert "free       10 of 10 today" in shown()
    denied = stack.tollgate.run(*reserve)
    assert (denied.status, denied.out.partition(":")[0]) == (1, "denied (402 insufficient_credits)")


def test_the_analysts_query_has_an_answer(stack: Stack) -> None:
    run_service(stack)
    assert "tollgate clickhouse query < query.sql" in README

    (query,) = blocks("sql")

    def answer() -> str:
        return stack.tollgate.ok("clickhouse", "query", stdin=query).out

    wait_until(lambda: "gpt-4o" in answer(), 30, "the event in ClickHouse")
    assert "p95_seconds" in answer()
