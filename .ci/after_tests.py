"""What must be true after a test run: every tier ran tests, and every process that the tests started has ended."""

import os
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import psutil

TIERS = ("unit", "property", "contract", "integration", "e2e", "browser", "chaos", "simulation", "tidy")
MARK = "TOLLGATE_TEST_RUN"


def tests_run(reports: list[Path]) -> Counter[str]:
    """How many tests of each tier ran; a skipped test did not run."""
    counted: Counter[str] = Counter()
    for report in reports:
        for case in ET.parse(report).iter("testcase"):  # noqa: S314 # our own test run wrote it
            if case.find("skipped") is None:
                counted[case.get("classname", "").removeprefix("tests.").split(".")[0]] += 1
    return counted


def left_over(mark: str) -> list[str]:
    """The processes, other than this one and its parents, whose environment carries the mark of the test run."""
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in ours and process.environ().get(MARK) == mark:
                found.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def main() -> int:
    """0 when all holds; otherwise 1, with the reasons on stderr."""
    counted = tests_run([Path(name) for name in sys.argv[1:]])
    print("tests run:", ", ".join(f"{tier} {counted[tier]}" for tier in TIERS))
    faults = [f"no test of tests/{tier} ran" for tier in TIERS if not counted[tier]]
    faults += [f"still running after the tests: {process}" for process in left_over(os.environ.get(MARK, "-"))]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
