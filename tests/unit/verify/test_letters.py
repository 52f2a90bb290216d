"""Dead letters and forwarded records against what must have been refused and forwarded."""

import tempfile
from hashlib import sha256
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord
from tests.support.usage import record

from tollgate.verification.letters import ForwardsCheck, LettersCheck
from tollgate.verification.report import Check
from tollgate.verification.spill import Spill


def letter(place: tuple[int, int] = (0, 5), reason: str = "not_json", value: bytes | None = b"{") -> ConsumerRecord:
    headers = (
        ("reason", reason.encode()),
        ("source_topic", b"tollgate.usage"),
        ("source_partition", str(place[0]).encode()),
        ("source_offset", str(place[1]).encode()),
    )
    return record(value, headers=headers)


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def places() -> Spill:
    return Spill(Path(tempfile.mkdtemp(dir=".")) / "places", 4)


def letters_check() -> LettersCheck:
    return LettersCheck(places(), "tollgate.usage", {0: 2}, {0: 10})


def checked(*letters: ConsumerRecord, refused: bool = True) -> Check:
    check = letters_check()
    if refused:
        check.refused(record(b"{", 5), "not_json")
    for found in letters:
        check.letter(found)
    return check.finish()


def test_a_refused_record_has_one_letter_with_its_reason_and_bytes() -> None:
    assert checked(letter()).ok
    assert checked().difference == "usage record 0:5: expected a dead letter with reason not_json, found none"
    assert checked(letter(), letter()).differences == 1
    assert not checked(letter(reason="conflict")).ok
    assert not checked(letter(value=b"}")).ok


def test_a_letter_that_was_cut_is_known_by_the_hash_of_the_whole() -> None:
    value = b"x" * 100
    for said, right in ((value, True), (value + b"y", False)):
        check = letters_check()
        check.refused(record(value, 5), "too_large")
        cut = letter(reason="too_large", value=value[:10])
        extra = (("value_sha256", sha256(said).hexdigest().encode()), ("cut", b"value: 10 of 100 bytes are kept"))
        check.letter(record(cut.value, headers=(*cut.headers, *extra)))
        assert check.finish().ok is right


def test_a_batch_that_could_not_be_unpacked_has_a_letter_of_other_bytes() -> None:
    check = letters_check()
    check.unread(record(b"unpacked", 5))
    check.letter(letter(reason="too_large", value=b"packed"))
    assert check.finish().ok
    check = letters_check()
    check.unread(record(b"unpacked", 5))
    assert not check.finish().ok


def test_a_record_that_was_counted_has_no_letter() -> None:
    assert not checked(letter(), refused=False).ok


def test_letters_from_outside_the_range_are_not_looked_at() -> None:
    assert checked(letter((0, 1)), letter((0, 10)), letter((3, 5)), refused=False).ok


def test_no_value_and_an_empty_value_are_not_the_same_bytes() -> None:
    check = letters_check()
    check.refused(record(None, 5), "null_value")
    check.letter(letter(reason="null_value", value=b""))
    assert not check.finish().ok


def conflicting(*letters: ConsumerRecord, rule: str) -> LettersCheck:
    check = letters_check()
    check.not_counted(record(b"{", 5))
    for found in letters:
        check.letter(found)
    if rule == "conflict":
        check.conflict("0:5")
    elif rule == "either":
        check.either("0:5")
    check.finish()
    return check


def test_a_conflict_has_a_letter_with_its_bytes_and_a_repeat_has_none() -> None:
    conflict = letter(reason="conflict")
    assert conflicting(conflict, rule="conflict").check.ok
    assert not conflicting(rule="conflict").check.ok
    assert not conflicting(letter(reason="conflict", value=b"}"), rule="conflict").check.ok
    assert conflicting(rule="duplicate").check.ok
    assert not conflicting(conflict, rule="duplicate").check.ok


def test_what_may_repeat_an_event_past_the_retention_may_have_a_letter_or_none() -> None:
    found = conflicting(letter(reason="conflict"), rule="either")
    assert (found.check.ok, found.expected, found.found) == (True, 1, 1)
    found = conflicting(rule="either")
    assert (found.check.ok, found.expected, found.found) == (True, 0, 0)
    assert not conflicting(letter(reason="not_json"), rule="either").check.ok


def forwarded(*copies: ConsumerRecord) -> Check:
    check = ForwardsCheck(places())
    check.sent(record(b"event", 5, partition=1), 3)
    for copy in copies:
        check.arrived(copy, "1:5")
    return check.finish({1: 0}, {1: 10})


def test_a_misrouted_record_stands_once_in_its_users_partition() -> None:
    copy = record(b"event", 77, partition=3)
    assert forwarded(copy).ok
    assert not forwarded().ok
    assert not forwarded(copy, copy).ok
    assert not forwarded(record(b"event", 77, partition=2)).ok
    assert not forwarded(record(b"other", 77, partition=3)).ok


@pytest.mark.parametrize(("begin", "cut", "ok"), [(0, 10, False), (6, 10, True), (0, 5, True), (5, 6, False)])
def test_a_copy_of_nothing_is_a_difference_unless_its_original_is_outside_the_range(
    begin: int, cut: int, ok: bool
) -> None:
    check = ForwardsCheck(places())
    check.arrived(record(b"event", 77, partition=3), "1:5")
    assert check.finish({1: begin}, {1: cut}).ok is ok
