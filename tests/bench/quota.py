"""A part of a processor for a process, so that a machine with few cores can show what more of them would bring."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

# Short, so that a process that has used its part waits for milliseconds only.
PERIOD_US = 20_000

_V1 = Path("/sys/fs/cgroup/cpu")
_V2 = Path("/sys/fs/cgroup")


def is_possible() -> bool:
    """Whether this user may make control groups of processors, which takes root on most machines."""
    return os.access(_V1 if _V1.is_dir() else _V2, os.W_OK)


@contextlib.contextmanager
def limited(pid: int, processors: float) -> Iterator[None]:
    """Give a process and its threads at most so much of a processor, as 0.3, until the end of the block or its own."""
    v1 = _V1.is_dir()
    root = _V1 if v1 else _V2
    group = root / f"tollgate-bench-{pid}"
    if not v1:
        (root / "cgroup.subtree_control").write_text("+cpu")
    group.mkdir()
    quota = round(PERIOD_US * processors)
    try:
        if v1:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            (root / "cgroup.procs").write_text(str(pid))
        group.rmdir()
