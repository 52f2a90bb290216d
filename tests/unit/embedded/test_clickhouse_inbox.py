"""The rows of an insert are in a file for as long as the insert takes, and for nobody else."""

import resource
import stat
from pathlib import Path

import pytest

from tollgate.embedded.clickhouse_inbox import Inbox
from tollgate.embedded.errors import QueryError

both = pytest.mark.parametrize("in_memory", [True, False])


@both
def test_rows_can_be_read_from_the_start_and_more_than_once(tmp_path: Path, in_memory: bool) -> None:
    with Inbox(tmp_path / "inbox", in_memory=in_memory).keep(b"1\n\n2\x00") as path:
        assert Path(path).read_bytes() == b"1\n\n2\x00"
        assert Path(path).read_bytes() == b"1\n\n2\x00"


@both
def test_nothing_is_left_of_an_insert_that_failed(tmp_path: Path, in_memory: bool) -> None:
    inbox = Inbox(tmp_path / "inbox", in_memory=in_memory)
    with pytest.raises(ZeroDivisionError), inbox.keep(b"rows") as path:
        raise ZeroDivisionError
    assert not Path(path).exists()
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == []


def test_in_memory_nothing_is_in_the_directory(tmp_path: Path) -> None:
    with Inbox(tmp_path / "inbox", in_memory=True).keep(b"rows"):
        assert list(tmp_path.iterdir()) == []


def test_a_file_is_its_owners_alone(tmp_path: Path) -> None:
    with Inbox(tmp_path / "inbox", in_memory=False).keep(b"rows") as path:
        assert Path(path).parent == tmp_path / "inbox"
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "inbox").stat().st_mode) == 0o700


@both
def test_what_a_killed_process_left_is_removed_at_the_next_start(tmp_path: Path, in_memory: bool) -> None:
    left = tmp_path / "inbox" / "left"
    left.parent.mkdir()
    left.write_bytes(b"rows")
    Inbox(tmp_path / "inbox", in_memory=in_memory)
    assert not left.exists()


@both
def test_rows_without_room_are_an_error_that_clickhouse_has_for_a_full_disk(tmp_path: Path, in_memory: bool) -> None:
    inbox = Inbox(tmp_path / "inbox", in_memory=in_memory)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The first write takes 1000 bytes, the second none.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(QueryError, match="Cannot keep the rows of an insert: File too large") as caught:
            inbox.keep(b"x" * 1001).__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == 243
    assert list(tmp_path.rglob("inbox/*")) == []
