"""What is noted of records that end a worker, and what a lane does with it."""

import asyncio
import json
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, ProducerFenced

from tollgate.ledger.endings import Ending, FileEndings, can_be_caused_by_records

TP = TopicPartition("tollgate.usage", 3)


def test_the_third_ending_at_one_record_makes_it_poison(tmp_path: Path) -> None:
    path = tmp_path / "endings.json"
    FileEndings(path).note(TP, 100, 200, ValueError("never in the file"))
    assert FileEndings(path).of(TP) == Ending(100, 200, 1, "ValueError")
    FileEndings(path).note(TP, 150, 151, ValueError())
    found = FileEndings(path).of(TP)
    assert found == Ending(150, 151, 2, "ValueError")
    assert not found.is_poison
    FileEndings(path).note(TP, 150, 151, ValueError())
    found = FileEndings(path).of(TP)
    assert found is not None
    assert found.is_poison
    assert "never in the file" not in path.read_text()


def test_three_endings_in_a_batch_make_no_record_poison(tmp_path: Path) -> None:
    endings = FileEndings(tmp_path / "endings.json")
    for _ in range(5):
        endings.note(TP, 100, 102, ValueError())
    found = endings.of(TP)
    assert found is not None
    assert not found.is_poison


def test_an_ending_elsewhere_begins_to_count_anew(tmp_path: Path) -> None:
    endings = FileEndings(tmp_path / "endings.json")
    endings.note(TP, 100, 101, ValueError())
    endings.note(TP, 101, 102, ValueError())
    assert endings.of(TP) == Ending(101, 102, 1, "ValueError")
    endings.note(TopicPartition("tollgate.usage", 4), 101, 102, ValueError())
    endings.forget(TP)
    assert endings.of(TP) is None
    assert FileEndings(tmp_path / "endings.json").of(TopicPartition("tollgate.usage", 4)) is not None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 100_000, b'{"a:1": {"first": "x"}}', b"\xff"])
def test_a_file_that_cannot_be_read_counts_as_empty(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "endings.json"
    path.write_bytes(content)
    endings = FileEndings(path)
    assert endings.of(TP) is None
    endings.note(TP, 1, 2, ValueError())
    assert json.loads(path.read_bytes())["tollgate.usage:3"]["times"] == 1


def test_a_directory_that_is_gone_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    FileEndings(tmp_path / "gone" / "endings.json").note(TP, 1, 2, ValueError())


def test_only_what_records_can_cause_is_held_against_them() -> None:
    caused = [ValueError(), KeyError(), RecursionError(), MemoryError(), AssertionError(), MessageSizeTooLargeError()]
    others = [KafkaTimeoutError(), ProducerFenced(), ConnectionError(), asyncio.CancelledError(), KeyboardInterrupt()]
    assert [can_be_caused_by_records(error) for error in caused] == [True] * 6
    assert [can_be_caused_by_records(error) for error in others] == [False] * 5
