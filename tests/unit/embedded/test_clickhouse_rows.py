"""Rows pass through a pipe whole, and a reader that gives up stops their writer."""

import os
import stat
import threading
from pathlib import Path

import pytest

from tollgate.embedded.clickhouse_rows import rows_path


# A pipe holds 64 KiB on Linux.
@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 5_000_000])
def test_all_rows_can_be_read_from_the_path(size: int) -> None:
    data = os.urandom(size)
    with rows_path(data) as path:
        assert Path(path).read_bytes() == data


def test_a_path_is_of_no_file() -> None:
    with rows_path(b"rows") as path:
        assert stat.S_ISFIFO(Path(path).stat().st_mode)


@pytest.mark.parametrize("read_bytes", [None, 10])
def test_a_reader_that_fails_leaves_no_writer_behind(read_bytes: int | None) -> None:
    with pytest.raises(ZeroDivisionError), rows_path(bytes(5_000_000)) as path:  # noqa: PT012 # fails while it reads
        if read_bytes:
            with Path(path).open("rb", buffering=0) as rows:
                rows.read(read_bytes)
        raise ZeroDivisionError
    assert "rows" not in {thread.name for thread in threading.enumerate()}
