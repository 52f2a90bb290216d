"""Fault points are read strictly, act once at the given time, and do nothing in production."""

import os
import signal
import subprocess
import sys

import pytest

from tollgate.ledger.faults import POINTS, fault_points, nothing_happens, told


def test_without_a_setting_nothing_happens() -> None:
    assert fault_points("") is nothing_happens


def test_the_process_is_killed_the_third_time_it_is_at_the_point(monkeypatch: pytest.MonkeyPatch) -> None:
    deeds: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, deed: deeds.append((pid, deed)))
    reached = fault_points("transaction.sent=3:kill,acquire.fenced=1:stop")
    reached("transaction.sent")
    reached("transaction.begun")
    reached("transaction.sent")
    assert deeds == []
    reached("transaction.sent")
    assert deeds == [(os.getpid(), signal.SIGKILL)]
    reached("acquire.fenced")
    reached("acquire.fenced")
    reached("transaction.sent")
    assert deeds == [(os.getpid(), signal.SIGKILL), (os.getpid(), signal.SIGSTOP)]


@pytest.mark.parametrize("text", ["transaction.sent", "transaction.sent=3", "nowhere=1:kill", f"{POINTS[0]}=x:kill"])
def test_a_text_that_names_no_fault_point_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no fault point"):
        fault_points(text)


def test_a_process_says_at_which_point_it_kills_itself() -> None:
    program = (
        "from tollgate.ledger import fault_points\n"
        "reached = fault_points('park.start=2:kill')\n"
        "reached('park.start')\nreached('park.start')\nprint('not reached')"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate()
    assert (process.returncode, output) == (-signal.SIGKILL, b"")
    assert errors.decode() == f"{told('park.start', 2, 'kill', process.pid)}\n"
    assert told("park.start", 2, "kill", 5) == "fault point park.start reached, time 2: kill of process 5"
