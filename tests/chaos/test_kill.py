"""Kill -9 at random moments under load changes no total."""

import os
import secrets
import sys
from pathlib import Path

import pytest
from tests.chaos.run import Plan, run

from tollgate.runtime.settings import Settings

pytestmark = pytest.mark.chaos


@pytest.mark.timeout(600)
async def test_totals_are_exact_after_a_worker_was_killed_ten_times_under_load(
    clickhouse: str, settings: Settings, tmp_path: Path
) -> None:
    seed = int(os.environ.get("TOLLGATE_CHAOS_SEED") or secrets.randbelow(10**6))
    print(f"seed {seed}: repeat with TOLLGATE_CHAOS_SEED={seed}", file=sys.stderr)
    outcome = await run(settings, Plan(seed, kills=10), tmp_path, print)
    assert not outcome.wrong, f"seed {seed}: {outcome.wrong[:10]}"
    assert outcome.kills["worker-0"] == 10
    assert outcome.events > 10_000
