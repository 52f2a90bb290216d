"""The README's examples work as they are printed, except for the addresses."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.conftest import Stack
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
KAFKA = "127.0.0.1:9092"


def block(language: str) -> str:
    """The README's only block of code in this language."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return str(code)


def run_service(stack: Stack) -> str:
    code = block("python")
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


def test_the_analysts_query_has_an_answer(stack: Stack) -> None:
    run_service(stack)
    assert "tollgate clickhouse query < query.sql" in README

    def answer() -> str:
        return stack.tollgate.ok("clickhouse", "query", stdin=block("sql")).out

    wait_until(lambda: "gpt-4o" in answer(), 30, "the event in ClickHouse")
    assert "p95_seconds" in answer()
