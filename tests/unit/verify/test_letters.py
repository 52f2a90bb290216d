"""Dead letters and forwarded records against what must have been refused and forwarded."""

from aiokafka import ConsumerRecord
from tests.support.usage import record

from tollgate.verification.letters import ForwardsCheck, LettersCheck
from tollgate.verification.report import Check


def letter(place: tuple[int, int] = (0, 5), reason: str = "not_json", value: bytes | None = b"{") -> ConsumerRecord:
    headers = (
        ("reason", reason.encode()),
        ("source_topic", b"tollgate.usage"),
        ("source_partition", str(place[0]).encode()),
        ("source_offset", str(place[1]).encode()),
    )
    return record(value, headers=headers)


def checked(*letters: ConsumerRecord, refused: bool = True) -> Check:
    check = LettersCheck("tollgate.usage", {0: 2}, {0: 10})
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


def test_a_record_that_was_counted_has_no_letter() -> None:
    assert not checked(letter(), refused=False).ok


def test_letters_from_outside_the_range_are_not_looked_at() -> None:
    assert checked(letter((0, 1)), letter((0, 10)), letter((3, 5)), refused=False).ok


def test_no_value_and_an_empty_value_are_not_the_same_bytes() -> None:
    check = LettersCheck("tollgate.usage", {0: 0}, {0: 10})
    check.refused(record(None, 5), "null_value")
    check.letter(letter(reason="null_value", value=b""))
    assert not check.finish().ok


def forwarded(*copies: ConsumerRecord, before: int = 10) -> Check:
    check = ForwardsCheck()
    check.sent(record(b"event", 5, partition=1), 3)
    for copy in copies:
        check.arrived(copy, "1:5")
    return check.finish({1: 0}, {1: before})


def test_a_misrouted_record_stands_once_in_its_users_partition() -> None:
    copy = record(b"event", 77, partition=3)
    assert forwarded(copy).ok
    assert not forwarded().ok
    assert not forwarded(copy, copy).ok
    assert not forwarded(record(b"event", 77, partition=2)).ok
    assert not forwarded(record(b"other", 77, partition=3)).ok


def test_a_record_that_was_misrouted_a_moment_ago_may_be_on_its_way() -> None:
    assert forwarded(before=5).ok


def test_a_copy_of_nothing_is_a_difference_unless_its_original_is_past_its_retention() -> None:
    check = ForwardsCheck()
    check.arrived(record(b"event", 77, partition=3), "1:5")
    assert not check.finish({1: 0}, {1: 10}).ok
    check = ForwardsCheck()
    check.arrived(record(b"event", 77, partition=3), "1:5")
    assert check.finish({1: 6}, {1: 10}).ok
