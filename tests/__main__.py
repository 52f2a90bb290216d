"""`python -m tests [pytest's options]`: all tests, in groups that run side by side, each with a report in `build/`.

A group shares its Kafka broker and its ClickHouse server. Two groups at a time keep two processors busy: the tests of
real processes wait most of the time.
"""

import os
import runpy
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
BUILD: Final = ROOT / "build"

# The longest first. What needs no service fills the rest of the time.
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "ledger": ("integration/embedded", "integration/ledger", "integration/security", "integration/verify"),
    "processes": ("chaos", "contract", "e2e"),
    "console": ("browser", "integration/console", "integration/numbers", "integration/pricing"),
    "readers": (
        "integration/alerts",
        "integration/cli",
        "integration/clickhouse",
        "integration/control",
        "integration/sdk",
    ),
    "rules": ("property", "simulation", "tidy", "unit"),
}
AT_A_TIME: Final = 2
# The longest group takes 18 minutes on two processors.
GROUP_SECONDS_MAX: Final = 1_500
ABORT_SECONDS_MAX: Final = 10
# pytest's own status for a selection in which there is no test.
NO_TESTS: Final = 5


def main() -> int:
    """0 when every group passes. The output of a group is printed when it has ended."""
    BUILD.mkdir(exist_ok=True)
    # Once, before two groups try to at the same time.
    runpy.run_path(str(ROOT / "native" / "build.py"))["build"]()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        statuses = list(pool.map(_run, GROUPS))
    return max(0 if status == NO_TESTS else abs(status) for status in statuses)


def _run(group: str) -> int:
    paths = [str(Path("tests") / name) for name in GROUPS[group]]
    report, written = BUILD / f"test-report-{group}.xml", BUILD / f"test-output-{group}.log"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", *paths, f"--junitxml={report}", *sys.argv[1:]]
    environment = {**os.environ, "PYTEST_DEBUG_TEMPROOT": str(BUILD)}
    # A file, because a pipe is read until every process that inherited it has ended, also one that a test left over.
    with written.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            status = process.wait(GROUP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            status = _abort(process)
    print(f"{group}: {', '.join(GROUPS[group])}\n{written.read_text(errors='replace')}", flush=True)
    return status


def _abort(process: "subprocess.Popen[bytes]") -> int:
    """End a group that hangs. pytest prints the stack of each of its threads when it is told to abort."""
    process.send_signal(signal.SIGABRT)
    try:
        return process.wait(ABORT_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


if __name__ == "__main__":
    sys.exit(main())
