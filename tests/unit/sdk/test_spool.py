"""The spool of a process: bounds, what it does without a disk, and what the next process finds."""

import fcntl
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tollgate.sdk.spool import Spool
from tollgate.sdk.spool_folder import Folder, root_of

MIB = 1 << 20
MANY = 1 << 30
DESTINATION = "kafka 127.0.0.1:9092 tollgate."

Make = Callable[..., Spool]


def event(number: int, size: int = 20) -> tuple[str, bytes]:
    return f"u{number % 5}", (b'{"id": "%d"}' % number).ljust(size)


def numbers(spool: Spool) -> list[int]:
    """Send everything; the numbers of the events in order."""
    sent: list[int] = []
    while (batch := spool.next(MANY, MANY)) is not None:
        sent += [int(value.split(b'"')[3]) for _, value in batch.events]
        spool.confirm()
    return sent


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(directory: Path | None = None, bytes_max: int = MIB, **more: object) -> Spool:
        return Spool(directory or tmp_path / "spool", DESTINATION, bytes_max, **more)  # type: ignore[arg-type]

    return made


def segments(root: Path) -> list[Path]:
    return sorted(root.rglob("*.seg"))


def test_events_leave_in_the_order_they_came_and_nothing_stays(make: Make, tmp_path: Path) -> None:
    spool = make(bytes_max=64 * MIB)
    for number in range(0, 5000, 50):
        assert spool.append([event(n) for n in range(number, number + 50)])
    assert spool.waiting == 5000
    assert numbers(spool) == list(range(5000))
    assert (spool.waiting, spool.own_done, spool.spooled, spool.dropped) == (0, 5000, 5000, 0)
    spool.close()
    assert [path for path in (tmp_path / "spool").rglob("*") if path.is_file()] == []


def test_the_next_process_sends_what_one_left_before_its_own(make: Make) -> None:
    first = make()
    first.append([event(0), event(1)])
    first.append([event(2)])
    batch = first.next(1, MANY)
    assert batch is not None
    assert len(batch.events) == 2
    first.confirm()
    first.close()
    second = make()
    second.append([event(3)])
    assert second.adopt()
    assert numbers(second) == [2, 3]
    assert (second.taken_over, second.own_done, second.spooled) == (1, 1, 1)
    second.close()


def test_what_a_living_process_has_is_left_to_it(make: Make) -> None:
    first, second = make(), make()
    first.append([event(0)])
    assert not second.adopt()
    assert numbers(first) == [0]
    first.close()
    assert not second.adopt()


def test_the_spool_of_another_destination_is_left_alone(make: Make, tmp_path: Path) -> None:
    first = make()
    first.append([event(0)])
    first.close()
    other = Spool(tmp_path / "spool", "http://console:8080", MIB)
    assert not other.adopt()


def test_a_full_spool_drops_its_oldest_events_and_counts_them(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    spool = make(bytes_max=MIB)
    for number in range(200):
        spool.append([event(number, 10_000)])
    assert sum(path.stat().st_size for path in segments(spool._root or Path())) <= MIB
    left = numbers(spool)
    assert left == list(range(200 - len(left), 200))
    assert spool.dropped == 200 - len(left)
    assert spool.own_done == 200
    assert len(left) >= 90
    assert "the spool is full" in caplog.text
    spool.close()


def test_what_a_dead_process_left_is_dropped_first(make: Make) -> None:
    first = make(bytes_max=4 * MIB)
    for number in range(50):
        first.append([event(number, 10_000)])
    first.close()
    second = make(bytes_max=MIB)
    second.append([event(50, 10_000)])
    assert second.adopt()
    for number in range(51, 110):
        second.append([event(number, 10_000)])
    left = numbers(second)
    assert left[-60:] == list(range(50, 110))
    assert 50 - second.dropped == len(left) - 60
    assert second.dropped > 0
    assert second.taken_over == 50
    second.close()


def test_the_spools_of_all_processes_are_bounded_together(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tollgate.sdk.spool._OTHERS_SECONDS", 0.0)
    one, two = make(bytes_max=MIB), make(bytes_max=MIB)
    for number in range(100):
        one.append([event(number, 5_000)])
    for number in range(200):
        two.append([event(number, 5_000)])
    root = one._root
    assert root is not None
    assert sum(path.stat().st_size for path in segments(root)) <= MIB
    assert two.dropped > 0
    assert one.dropped == 0
    one.close()
    two.close()


def test_with_block_a_full_spool_takes_nothing_until_its_time_is_over(make: Make) -> None:
    spool = make(bytes_max=MIB, when_full="block", block_seconds_max=0.05)
    number = 0
    while spool.append([event(number, 10_000)]):
        number += 1
    assert spool.dropped == 0
    while not spool.append([event(number, 10_000)]):
        pass
    assert spool.dropped > 0
    assert numbers(spool) == list(range(spool.dropped, number + 1))
    spool.close()


def test_what_is_dropped_while_it_is_sent_does_not_confirm_other_events(make: Make) -> None:
    spool = make(bytes_max=MIB)
    spool.append([event(0, 10_000)])
    assert spool.next(MANY, MANY) is not None
    for number in range(1, 200):
        spool.append([event(number, 10_000)])
    dropped = spool.dropped
    assert dropped > 0
    assert spool.confirm() == 0
    assert numbers(spool) == list(range(dropped, 200))
    spool.close()


def test_without_a_disk_memory_takes_its_place_and_it_is_said_once(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    spool = make(tmp_path / "file" / "spool")
    for number in range(100):
        assert spool.append([event(number)])
    assert spool.is_in_memory
    assert (spool.waiting, spool.spooled) == (100, 0)
    assert caplog.text.count("the spool cannot be written") == 1
    assert "set spool_dir or TOLLGATE_SPOOL_DIR" in caplog.text
    assert numbers(spool) == list(range(100))
    spool.append([event(100)])
    spool.close()
    assert "1 usage events are lost" in caplog.text
    assert (spool.dropped, spool.own_done) == (1, 101)


def test_memory_is_bounded_as_the_disk_is(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    spool = make(tmp_path / "file", bytes_max=MIB)
    for number in range(200):
        spool.append([event(number, 10_000)])
    left = numbers(spool)
    assert left == list(range(200 - len(left), 200))
    assert len(left) == 104
    spool.close()


def test_the_disk_is_used_again_when_it_is_back(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tollgate.sdk.spool._DISK_SECONDS", 0.0)
    place = tmp_path / "place"
    place.write_text("")
    spool = make(place)
    spool.append([event(0)])
    assert spool.is_in_memory
    place.unlink()
    spool.append([event(1)])
    assert not spool.is_in_memory
    assert numbers(spool) == [0, 1]
    spool.close()


FULL_DISK = """
import resource, sys
from pathlib import Path
from tollgate.sdk.spool import Spool
import tollgate.sdk.spool as module
module._DISK_SECONDS = 0.0
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
spool = Spool(Path(sys.argv[1]), "d", 1 << 30)
for number in range(400):
    assert spool.append([("u", b"%d" % number + b" " * 1000)])
sent = []
while (batch := spool.next(50, 1 << 30)) is not None:
    sent += [int(value) for _, value in batch.events]
    spool.confirm()
assert sent == list(range(400)), sent
print(spool.spooled, len(list(Path("/proc/self/fd").iterdir())))
spool.close()
"""


def test_a_write_that_the_disk_cuts_short_loses_nothing_and_holds_no_descriptors(tmp_path: Path) -> None:
    # A file that may not grow fails in the middle of a write, as a full disk does.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    spooled, descriptors = map(int, done.stdout.split())
    assert spooled >= 90
    assert descriptors < 20, done.stderr


def test_a_folder_that_others_may_write_to_is_not_used(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    theirs = tmp_path / f"tollgate-spool-{os.geteuid()}"
    theirs.mkdir()
    theirs.chmod(0o777)
    spool = Spool(None, DESTINATION, MIB)
    spool.append([event(0)])
    assert spool.is_in_memory
    assert "others may write to it" in caplog.text
    spool.close()


def test_a_folder_of_another_user_and_a_link_in_its_place_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    somebody = os.geteuid() + 1
    (tmp_path / f"tollgate-spool-{somebody}").mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: somebody)
    with pytest.raises(PermissionError, match="another user"):
        root_of(None, DESTINATION)
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"tollgate-spool-{os.geteuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError):
        root_of(None, DESTINATION)


def test_the_folder_and_its_files_are_this_users_alone(make: Make, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        spool = make()
        spool.append([event(0)])
    finally:
        os.umask(before)
    for path in (tmp_path / "spool").rglob("*"):
        assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    spool.close()


def test_what_is_not_ours_in_the_folder_is_passed_over(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = make()
    first.append([event(0)])
    root = first._root
    first.close()
    assert root is not None
    (root / "notes.txt").write_text("mine")
    (root / "000000000000-1-00000000").write_text("a file in place of a folder")
    (root / "000000000001-1-00000000").symlink_to(tmp_path)
    empty = root / "000000000002-1-00000000"
    empty.mkdir()
    hostile = root / "000000000003-1-00000000"
    hostile.mkdir()
    (hostile / "00000001.seg").write_bytes(b"\xff" * 1000)
    os.mkfifo(hostile / "00000002.seg")
    (hostile / "00000003.seg").mkdir()
    (hostile / "other").write_text("x")
    second = make()
    sent = []
    while second.adopt():
        sent += numbers(second)
    assert sent == [0]
    assert not empty.exists()
    assert (root / "notes.txt").read_text() == "mine"
    assert len(list(root.glob("damaged-*"))) == 3
    assert caplog.text.count("cannot be read") == 3
    second.close()


def test_a_damaged_end_is_kept_for_people_after_the_rest_is_sent(make: Make) -> None:
    first = make()
    first.append([event(0)])
    first.append([event(1)])
    root = first._root
    first.close()
    assert root is not None
    (path,) = segments(root)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    second = make()
    assert second.adopt()
    assert numbers(second) == [0]
    second.close()
    (kept,) = root.glob("damaged-*")
    assert kept.stat().st_size > 50
    assert make().adopt() is False


def test_two_processes_that_look_at_once_do_not_both_take_a_folder(make: Make) -> None:
    first = make()
    first.append([event(0)])
    root = first._root
    first.close()
    assert root is not None
    taken = Folder.adopt(root)
    assert taken is not None
    assert Folder.adopt(root) is None
    taken.close()
    again = Folder.adopt(root)
    assert again is not None
    again.close()


def test_a_folder_that_is_removed_while_its_lock_is_taken_is_not_taken_over(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make()
    first.append([event(0)])
    root = first._root
    first.close()
    assert root is not None
    (folder,) = [path for path in root.iterdir() if path.is_dir()]
    flock = fcntl.flock

    def removed_meanwhile(descriptor: int, operation: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    assert Folder.adopt(root) is None


def test_a_child_leaves_the_spool_to_its_parent(make: Make) -> None:
    spool = make()
    spool.append([event(0)])
    child = os.fork()
    if child == 0:
        # Nothing here may raise: the test must not go on twice.
        try:
            spool.forget()
            own = make()
            fine = not own.adopt() and own.append([event(7)]) and numbers(own) == [7]
            own.close()
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert not make().adopt()
    assert numbers(spool) == [0]
    spool.close()


def test_a_folder_left_half_made_goes_after_an_hour(make: Make) -> None:
    spool = make()
    spool.append([event(0)])
    root = spool._root
    assert root is not None
    (root / ".new-young").mkdir()
    (root / ".new-old").mkdir()
    os.utime(root / ".new-old", (0, 0))
    assert not spool.adopt()
    assert not (root / ".new-old").exists()
    assert (root / ".new-young").exists()
    spool.close()


@pytest.fixture(autouse=True)
def _warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "tollgate.sdk")
