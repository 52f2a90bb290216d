"""Dead letters: list, show, replay, whatever bytes they hold."""

import base64
import json
from collections.abc import Callable

import pytest
from tests.integration.cli.conftest import Ran, Record, records_of, write
from tests.support.usage import event

from tollgate.cli.main import main
from tollgate.runtime.settings import Settings
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import USAGE_PARTITIONS, Topic

pytestmark = pytest.mark.integration

Tollgate = Callable[..., Ran]
NASTY = b"\x1b]0;owned\x07 not json \xff\x00\nsecond line"


def letter(reason: str, value: bytes | None, key: bytes | None = b"u1", offset: int = 0, **original: bytes) -> Record:
    headers = [
        *((name, value) for name, value in original.items()),
        ("reason", reason.encode()),
        ("error", b"value: why"),
        ("source_topic", b"tollgate.usage"),
        ("source_partition", b"3"),
        ("source_offset", str(offset).encode()),
        ("time", f"2026-11-21T10:00:{offset:02}Z".encode()),
    ]
    return 0, key, value, headers


def test_letters_are_listed_newest_first_and_by_reason(tollgate: Tollgate, settings: Settings) -> None:
    write(
        settings,
        Topic.DEAD_LETTERS,
        letter("not_json", NASTY, offset=1),
        letter("future", b"{}", b"\x1bkey", offset=2),
        letter("null_value", None, b"", offset=3),
    )
    found = tollgate("dead-letters", "list", "--json").json
    assert [(f["place"], f["reason"], f["source_offset"]) for f in found] == [
        ("0:2", "null_value", 3),
        ("0:1", "future", 2),
        ("0:0", "not_json", 1),
    ]
    assert [f["place"] for f in tollgate("dead-letters", "list", "--limit", "1", "--json").json] == ["0:2"]
    assert [f["place"] for f in tollgate("dead-letters", "list", "--reason", "future", "--json").json] == ["0:1"]
    shown = tollgate("dead-letters", "list").out
    assert "\\x1bkey" in shown
    assert "\x1b" not in shown
    assert "owned" not in shown


def test_older_letters_are_listed_from_where_the_last_list_ended(tollgate: Tollgate, settings: Settings) -> None:
    write(
        settings, Topic.DEAD_LETTERS, *(letter("future" if n % 50 else "conflict", b"{}", offset=n) for n in range(300))
    )
    first = tollgate("dead-letters", "list", "--limit", "2", "--json")
    assert [f["place"] for f in first.json] == ["0:299", "0:298"]
    assert first.err == "About 298 older records: `tollgate dead-letters list --before 0:298`.\n"
    assert [
        f["place"] for f in tollgate("dead-letters", "list", "--limit", "2", "--before", "0:298", "--json").json
    ] == [
        "0:297",
        "0:296",
    ]
    # Fewer than asked for, and in blocks from the end to the beginning.
    rare = tollgate("dead-letters", "list", "--reason", "conflict", "--json")
    assert [f["place"] for f in rare.json] == ["0:250", "0:200", "0:150", "0:100", "0:50", "0:0"]
    assert rare.err == ""
    last = tollgate("dead-letters", "list", "--reason", "conflict", "--before", "0:0")
    assert (last.status, last.out) == (0, "")
    assert last.err == "There are no older dead letters with the reason conflict.\n"
    for limit in ("0", "10001"):
        assert tollgate("dead-letters", "list", "--limit", limit).status == 2


def test_long_keys_errors_and_values_are_cut_where_they_would_fill_a_screen(
    tollgate: Tollgate, settings: Settings
) -> None:
    key, value = b"k" * 500_000, b"v" * 300_000
    long = letter("not_json", value, key)
    write(settings, Topic.DEAD_LETTERS, (long[0], long[1], long[2], [("error", b"e" * 100_000), *long[3][:1]]))
    assert len(tollgate("dead-letters", "list").out) < 3_000
    (listed,) = tollgate("dead-letters", "list", "--json").json
    assert (listed["bytes"], listed["key"], listed["error"]) == (300_000, "k" * 1024, "e" * 1024)
    shown = tollgate("dead-letters", "show", "0:0")
    assert len(shown.out) < 700_000
    assert "v" * 65_536 in shown.out
    assert "v" * 65_537 not in shown.out
    assert shown.err == "The first 65,536 bytes are shown: --raw writes all of them.\n"


def test_a_letter_is_shown_without_controlling_the_terminal(tollgate: Tollgate, settings: Settings) -> None:
    write(settings, Topic.DEAD_LETTERS, letter("not_json", NASTY, ce_id=b"e\x1b1"))
    ran = tollgate("dead-letters", "show", "0:0")
    assert ran.status == 0
    assert ran.out.splitlines() == [
        "place   0:0",
        "reason  not_json",
        "error   value: why",
        "source  tollgate.usage 3:0, 2026-11-21T10:00:00Z",
        "key     u1",
        "header  ce_id: e\\x1b1",
        "value   34 bytes",
        "\\x1b]0;owned\\x07 not json \\xff\\x00",
        "second line",
    ]
    found = tollgate("dead-letters", "show", "0:0", "--json").json
    assert base64.b64decode(found["value_base64"]) == NASTY
    assert found["value"] is None


def test_raw_is_exactly_the_bytes(
    variables: None, settings: Settings, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    write(settings, Topic.DEAD_LETTERS, letter("not_json", NASTY))
    capfdbinary.readouterr()
    assert main(["dead-letters", "show", "0:0", "--raw"]) == 0
    assert capfdbinary.readouterr().out == NASTY


@pytest.mark.parametrize("place", ["0:99", "7:0"])
def test_an_unknown_letter_ends_with_1(tollgate: Tollgate, place: str) -> None:
    ran = tollgate("dead-letters", "show", place)
    assert (ran.status, ran.out) == (1, "")
    assert f"there is no dead letter at {place}" in ran.err


def test_a_replay_sends_bytes_key_and_cloud_event_headers_again(tollgate: Tollgate, settings: Settings) -> None:
    structured = json.dumps(event("e1")).encode()
    binary = json.dumps(event("e2")["data"]).encode()
    attributes = {
        "ce_specversion": b"1.0",
        "ce_type": b"tollgate.usage.v1",
        "ce_source": b"tests",
        "ce_id": b"e2",
        "ce_subject": b"u1",
        "ce_time": b"2026-11-21T10:00:00Z",
        "content-type": b"application/json",
    }
    write(
        settings,
        Topic.DEAD_LETTERS,
        letter("future", structured, offset=1),
        letter("future", binary, offset=2, **attributes),
        letter("future", structured, offset=3),
        letter("future", b"{}", offset=4),
        letter("conflict", structured, offset=5),
    )
    dry = tollgate("dead-letters", "replay", "--reason", "future", "--dry-run", "--json").json
    assert (dry["replayed"], dry["places"], dry["kept_back"]) == (0, ["0:0", "0:1"], 1)
    assert records_of(settings, Topic.USAGE) == []
    ran = tollgate("dead-letters", "replay", "--reason", "future")
    assert (ran.status, ran.out) == (1, "replayed 2 records, kept back 1\n")
    assert ran.err == "0:3 would be refused again, missing_field: specversion: is missing\n"
    first, second = records_of(settings, Topic.USAGE)
    assert (first.value, first.key, first.headers) == (structured, b"u1", ())
    assert (second.value, dict(second.headers)) == (binary, attributes)
    assert {first.partition, second.partition} == {partition_of(b"u1", USAGE_PARTITIONS)}


def test_force_sends_what_will_be_refused_again(tollgate: Tollgate, settings: Settings) -> None:
    write(settings, Topic.DEAD_LETTERS, letter("not_json", NASTY, None))
    assert tollgate("dead-letters", "replay", "0:0").status == 1
    assert tollgate("dead-letters", "replay", "0:0", "--force").status == 0
    (record,) = records_of(settings, Topic.USAGE)
    assert (record.key, record.value) == (None, NASTY)


def test_what_came_from_entries_goes_back_there(tollgate: Tollgate, settings: Settings) -> None:
    entries = settings.topic(Topic.ENTRIES)
    place, key, value, headers = letter("invalid", b"{}")
    of_entries = [(name, entries.encode() if name == "source_topic" else text) for name, text in headers]
    write(settings, Topic.DEAD_LETTERS, (place, key, value, of_entries), letter("invalid", NASTY))
    ran = tollgate("dead-letters", "replay", "0:0")
    assert (ran.status, ran.err) == (1, "0:0 would be refused again, missing_field: specversion: is missing\n")
    assert tollgate("dead-letters", "replay", "--reason", "invalid", "--force").status == 0
    assert [(record.key, record.value) for record in records_of(settings, Topic.ENTRIES)] == [(b"u1", b"{}")]
    assert [record.value for record in records_of(settings, Topic.USAGE)] == [NASTY]
