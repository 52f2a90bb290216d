"""A short run of chaos: seeded faults under load change no total, and the checker sees what is falsified."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]


def chaos(*arguments: str) -> dict[str, Any]:
    """Run it as a program, so that it may have disks of its own; its outcome."""
    seed = os.environ.get("TOLLGATE_CHAOS_SEED") or str(secrets.randbelow(10**6))
    argv = [sys.executable, "-m", "tests.chaos", "--seed", seed, *arguments]
    print(f"repeat with: {' '.join(argv[1:])}", file=sys.stderr)
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    sys.stderr.write(done.stderr)
    assert done.returncode == 0, done.stderr[-3000:]
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def test_totals_are_exact_after_faults_of_all_kinds_and_what_is_falsified_is_seen() -> None:
    outcome = chaos("--faults", "10", "--falsify")
    assert sum(outcome["faults"].values()) >= 10
    assert outcome["events"] > 3_000
    assert outcome["credit_entries"] > 10
    assert outcome["decisions"]["granted"] > 10


@pytest.mark.long
def test_totals_are_exact_after_the_leading_broker_of_three_was_killed() -> None:
    outcome = chaos("--brokers", "3", "--faults", "3", "--only", "kill * coordinator", "--only", "kill leader")
    assert sum(outcome["faults"].values()) >= 3
    assert outcome["events"] > 1_000
