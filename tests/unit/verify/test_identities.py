"""Which events repeat another: the contract's rule on rows that went through files."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.usage import event

from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.verification.identities import Claim, Identities, Rule, Ruling, Said, identity_of, said_by

DAY_S = 24 * 3600


def decoded(value: dict[str, Any]) -> EventRecord:
    found = decode_usage_event(msgspec.json.encode(value))
    assert isinstance(found, EventRecord)
    return found


def ruled(
    directory: Path, *rows: tuple[str, str, int, Claim], open_until_s: int = 0, records_max: int = 100
) -> list[tuple[int, str]]:
    """Of rows (id, what it says, second, claim) at offsets 0, 1, 2, …: where something is to be done, and why."""
    identities = Identities(directory / "identities", records_max, open_until_s)
    for offset, (name, said, seen_s, claim) in enumerate(rows):
        # `x` says the same as `x'` in other words.
        values, sent = (int.from_bytes(text.encode(), "little") for text in (said.rstrip("'"), said))
        identities.add(name.encode().ljust(16), Said(values, sent), offset, seen_s, claim, 4)
    rulings = sorted(identities.rulings(), key=lambda ruling: ruling.offset)
    assert sum(identities.counts.values()) == len(rows)
    return [(ruling.offset, ruling.rule.name) for ruling in rulings]


YES, NO, LOST = Claim.COUNTED, Claim.NOT_COUNTED, Claim.UNKNOWN


def test_the_first_counts_and_the_others_do_not(tmp_path: Path) -> None:
    assert ruled(tmp_path, ("a", "x", 5, YES), ("b", "x", 5, YES), ("a", "x", 6, NO), ("a", "x", 7, NO)) == []


def test_a_repeat_that_was_counted_and_a_first_that_was_not_are_told(tmp_path: Path) -> None:
    found = ruled(tmp_path, ("a", "x", 5, YES), ("b", "x", 5, NO), ("a", "x", 6, YES), ("c", "x", 6, YES))
    assert found == [(1, "COUNTED"), (2, "DUPLICATE")]


def test_other_data_is_a_conflict_whatever_was_claimed(tmp_path: Path) -> None:
    found = ruled(tmp_path, ("a", "x", 5, YES), ("a", "y", 6, NO), ("a", "x", 7, NO), ("a", "z", 8, YES))
    assert found == [(1, "CONFLICT"), (3, "CONFLICT")]


def test_a_repeat_in_other_words_is_no_conflict_and_was_one_in_the_first_releases(tmp_path: Path) -> None:
    found = ruled(tmp_path, ("a", "x", 5, YES), ("a", "x'", 6, NO), ("a", "x", 7, NO), ("a", "x''", 8, YES))
    assert found == [(1, "RESTATED"), (3, "RESTATED")]


@pytest.mark.parametrize(("seconds", "expected"), [(35 * DAY_S, [(1, "DUPLICATE")]), (35 * DAY_S + 1, [])])
def test_an_identity_is_remembered_for_35_days_and_not_a_second_longer(
    tmp_path: Path, seconds: int, expected: list[tuple[int, str]]
) -> None:
    assert ruled(tmp_path, ("a", "x", 5, YES), ("a", "x", 5 + seconds, YES)) == expected


def test_what_is_older_than_the_priced_topic_is_counted_by_the_rule_alone(tmp_path: Path) -> None:
    assert ruled(tmp_path, ("a", "x", 5, LOST), ("a", "x", 6, LOST), ("b", "x", 6, LOST)) == [(1, "DUPLICATE")]


def test_an_event_may_repeat_one_that_the_topic_no_longer_has_for_35_days(tmp_path: Path) -> None:
    rows = [("a", "x", 100, NO), ("b", "x", 101, NO), ("c", "x", 100, YES), ("a", "x", 101, NO), ("a", "y", 101, NO)]
    found = ruled(tmp_path, *rows, open_until_s=100)
    assert found == [(0, "OPEN"), (1, "COUNTED"), (3, "OPEN"), (4, "OPEN")]


def test_an_event_is_counted_again_when_the_one_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    rows = [("a", "x", 100, NO), ("a", "x", 200, YES), ("a", "x", 201, NO), ("a", "x", 202, YES)]
    assert ruled(tmp_path, *rows, open_until_s=150) == [(0, "OPEN"), (3, "DUPLICATE")]


def test_many_buckets_say_what_one_says(tmp_path: Path) -> None:
    rows = [(f"n{n % 70_000}", "x", n, YES) for n in range(120_000)]
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    one = ruled(tmp_path / "one", *rows)
    assert one == ruled(tmp_path / "many", *rows, records_max=5_000_000)
    assert one == [(n, "DUPLICATE") for n in range(70_000, 120_000)]


def test_a_ruling_keeps_the_windows_that_hold_the_event(tmp_path: Path) -> None:
    identities = Identities(tmp_path / "identities", 10)
    identities.add(b"a" * 16, Said(1, 1), 7, 5, Claim.NOT_COUNTED, 2)
    assert list(identities.rulings()) == [Ruling(7, Claim.NOT_COUNTED, Rule.COUNTED, 2)]


def test_what_an_event_says_is_the_same_however_it_is_written_and_timed() -> None:
    first = event("e1")
    again: dict[str, Any] = dict(reversed(event("e1", time="2026-11-21T09:00:00Z").items()))
    again["data"] = dict(reversed(again["data"].items()))
    assert said_by(decoded(first)) == said_by(decoded(again))
    assert identity_of(decoded(first)) == identity_of(decoded(again))
    other = event("e1", data={"usage": {"input_tokens": 1001}})
    assert said_by(decoded(first)) != said_by(decoded(other))
    assert said_by(decoded(first)) != said_by(decoded(event("e1", user="u2")))


def test_source_and_id_are_the_identity() -> None:
    assert identity_of(decoded(event("e1"))) != identity_of(decoded(event("e1", source="other")))
    split = event("bc", source="a"), event("c", source="ab")
    assert identity_of(decoded(split[0])) != identity_of(decoded(split[1]))
