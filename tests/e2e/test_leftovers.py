"""A stack that was stopped has left nothing behind: no process, and no file outside its data directory."""

import json
import uuid
from pathlib import Path

import psutil
import pytest
from tests.support.tollgate_cli import Tollgate
from tests.support.usage import event

from tollgate.embedded import jar_directory

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def processes_with(mark: str) -> list[str]:
    """The command lines of the processes that carry the mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TOLLGATE_LEFTOVER_MARK") == mark:
                found.append(" ".join(process.cmdline())[:200])
        except psutil.Error:
            # It ended meanwhile, or is not ours.
            continue
    return found


def test_up_publish_and_down_leave_no_process_and_no_file_outside_the_data_directory(tmp_path: Path) -> None:
    home, temporary, work = (tmp_path / name for name in ("home", "tmp", "work"))
    for directory in (home, temporary, work):
        directory.mkdir()
    mark = uuid.uuid4().hex
    variables = {
        "TOLLGATE_DATA_DIR": str(tmp_path / "data"),
        "TOLLGATE_LEFTOVER_MARK": mark,
        "HOME": str(home),
        "TMPDIR": str(temporary),
        # The jars are downloaded once per machine, not per test.
        "XDG_CACHE_HOME": str(jar_directory().parents[1]),
    }
    tollgate = Tollgate(variables, work)
    try:
        tollgate.ok("up", "--detach", "--json")
        assert len(processes_with(mark)) >= 6
        tollgate.ok("publish", "-", "--shift-time", "now", stdin=f"{_line()}\n")
        tollgate.ok("verify")
    finally:
        tollgate.ok("down")
    assert processes_with(mark) == []
    left = [str(path.relative_to(tmp_path)) for d in (home, temporary, work) for path in d.rglob("*")]
    assert left == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "home", "tmp", "work"]


def _line() -> str:
    return json.dumps(event())
