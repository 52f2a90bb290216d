"""A file of the spool: what a crash leaves of it, and what is no such file."""

import os
from pathlib import Path

import pytest

from tollgate.sdk.segment import DamagedError, Segment, frames_of

NOW_MS = 1_795_255_200_123
MANY = 1 << 30


def events(first: int, count: int) -> list[tuple[str, bytes]]:
    return [(f"u{number % 3}", b'{"id": "%d"}' % number) for number in range(first, first + count)]


def written(path: Path, *groups: list[tuple[str, bytes]]) -> list[int]:
    """A segment with one frame for each group; the size of the file after each."""
    segment = Segment.create(path)
    sizes = []
    for group in groups:
        ((frame, count),) = frames_of(group, NOW_MS)
        segment.append(frame, count)
        sizes.append(segment.size)
    segment.close()
    return sizes


def read(path: Path) -> list[tuple[str, bytes]]:
    segment = Segment.open(path)
    try:
        batch = segment.read(MANY, MANY)
        found = list(batch.events) if batch else []
        assert segment.waiting == len(found)
        return found
    finally:
        segment.close()


def test_what_is_written_is_read_in_order_with_its_time(tmp_path: Path) -> None:
    written(tmp_path / "s", events(0, 2), events(2, 3))
    segment = Segment.open(tmp_path / "s")
    batch = segment.read(MANY, MANY)
    assert batch is not None
    assert list(batch.events) == events(0, 5)
    assert batch.written_ms == NOW_MS
    assert segment.waiting == 5
    segment.close()


def test_a_file_cut_at_any_byte_gives_every_frame_that_is_whole_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "s"
    sizes = written(path, events(0, 1), events(1, 2), events(3, 4))
    whole = path.read_bytes()
    assert len(whole) == sizes[2]
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        expected = 0 if cut < sizes[0] else 1 if cut < sizes[1] else 3
        assert read(path) == events(0, expected), cut
        segment = Segment.open(path)
        assert not segment.damaged, cut
        segment.close()


def test_zeros_behind_the_last_frame_are_the_rest_of_a_lost_write(tmp_path: Path) -> None:
    path = tmp_path / "s"
    written(path, events(0, 3))
    path.write_bytes(path.read_bytes() + bytes(5000))
    assert read(path) == events(0, 3)
    segment = Segment.open(path)
    assert not segment.damaged
    segment.close()


def test_a_changed_byte_anywhere_gives_the_frames_before_it_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "s"
    sizes = written(path, events(0, 2), events(2, 2))
    whole = path.read_bytes()
    for place in range(16, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        found = read(path)
        assert found == events(0, 0 if place < sizes[0] else 2), place
    # Of a frame that is as long as it says, but has something else in it, the rest is kept for people.
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    segment = Segment.open(path)
    assert segment.damaged
    segment.close()


def test_what_was_confirmed_is_not_read_again_by_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "s"
    written(path, events(0, 2), events(2, 2), events(4, 1))
    segment = Segment.open(path)
    batch = segment.read(1, MANY)
    assert batch is not None
    assert list(batch.events) == events(0, 2)
    segment.confirm(batch)
    assert segment.waiting == 3
    segment.close()
    assert read(path) == events(2, 3)


@pytest.mark.parametrize("sent", [0, 17, 40, 1 << 40, 2**64 - 1])
def test_a_wrong_place_of_what_is_sent_loses_nothing_that_it_does_not_cover(tmp_path: Path, sent: int) -> None:
    path = tmp_path / "s"
    sizes = written(path, events(0, 1), events(1, 1))
    whole = path.read_bytes()
    path.write_bytes(whole[:8] + sent.to_bytes(8, "little") + whole[16:])
    assert read(path) == (events(0, 2) if sent < sizes[0] else [])


def test_a_batch_is_bounded_in_events_and_bytes_but_never_empty(tmp_path: Path) -> None:
    path = tmp_path / "s"
    written(path, *[events(10 * number, 10) for number in range(5)])
    segment = Segment.open(path)
    for events_max, bytes_max, expected in [(1, MANY, 10), (11, MANY, 20), (MANY, 1, 10), (MANY, MANY, 50)]:
        batch = segment.read(events_max, bytes_max)
        assert batch is not None
        assert len(batch.events) == expected
    segment.close()


def test_frames_are_bounded_whatever_is_written_at_once() -> None:
    large = [("u", b"x" * 65536)] * 20
    assert [count for _, count in frames_of(large, NOW_MS)] == [5, 5, 5, 5]
    assert [count for _, count in frames_of(events(0, 2500), NOW_MS)] == [1000, 1000, 500]
    assert list(frames_of([], NOW_MS)) == []


@pytest.mark.parametrize("content", [b"x" * 16, b"TGSPOOL2" + bytes(8), b"PK\x03\x04" + bytes(100)])
def test_a_file_of_somebody_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s"
    path.write_bytes(content)
    with pytest.raises(DamagedError):
        Segment.open(path)


def test_a_pipe_a_folder_and_a_link_are_no_segments(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DamagedError):
        Segment.open(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        Segment.open(tmp_path / "folder")
    written(tmp_path / "s", events(0, 1))
    (tmp_path / "link").symlink_to(tmp_path / "s")
    with pytest.raises(OSError, match="symbolic"):
        Segment.open(tmp_path / "link")


def test_a_good_frame_that_holds_no_events_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "s"
    segment = Segment.create(path)
    ((frame, _),) = frames_of([(5, b"x")], NOW_MS)  # type: ignore[list-item] # what no writer of ours writes
    segment.append(frame, 1)
    with pytest.raises(DamagedError):
        segment.read(MANY, MANY)
    segment.close()
