"""NDJSON: what is sent byte for byte, what is completed, what is refused."""

import io
import json

import pytest
from tests.support.usage import event

from tollgate.cli.file_events import LINE_BYTES_MAX, Accepted, NdjsonReader, Refused, shifted


def read(content: bytes, shift_ms: int = 0) -> list[Accepted | Refused]:
    return list(NdjsonReader().read(io.BytesIO(content), shift_ms))


def line_of(**changes: object) -> bytes:
    return json.dumps({name: value for name, value in event(**changes).items() if value is not None}).encode()  # type: ignore[arg-type]


def test_a_complete_event_is_sent_byte_for_byte_under_its_user() -> None:
    line = b'  {"data": {"cost_usd": "1.10", "metadata": {"x": 1.10}}, ' + line_of(user="u-7", data={}).lstrip(b"{")
    (found,) = read(line + b"\r\n")
    assert isinstance(found, Accepted)
    assert (found.value, found.user) == (line.strip(), "u-7")


def test_an_absent_id_follows_from_the_line_and_its_occurrence() -> None:
    content = b"\n".join([line_of(id=None), line_of(id=None), line_of(id=None, subject="u2")])
    ids = [json.loads(found.value)["id"] for found in read(content) if isinstance(found, Accepted)]
    assert [name.rpartition("-")[2] for name in ids] == ["1", "2", "1"]
    assert ids == [json.loads(found.value)["id"] for found in read(content, 60_000) if isinstance(found, Accepted)]


def test_an_absent_source_is_publish_and_a_null_counts_as_absent() -> None:
    (found,) = read(line_of(source=None).replace(b'"id": "e1"', b'"id": null'))
    assert isinstance(found, Accepted)
    completed = json.loads(found.value)
    assert completed["source"] == "publish"
    assert completed["id"].endswith("-1")


def test_a_shift_changes_the_time_and_keeps_every_other_byte() -> None:
    (found,) = read(line_of(data={"metadata": {"big": 9007199254740993, "exact": 1.10}}), shift_ms=1_500)
    assert isinstance(found, Accepted)
    assert json.loads(found.value)["time"] == "2026-11-21T10:00:01.500Z"
    assert b'"metadata": {"big": 9007199254740993, "exact": 1.1}' in found.value


def test_bad_lines_are_refused_by_number_and_blank_ones_skipped() -> None:
    content = b"\n".join(
        [b"", b"{", line_of(), b"[]", line_of(subject=None), line_of(time="2026-11-21T10:00:00"), b"\xff", line_of()]
    )
    for shift_ms in (0, 1000):
        found = read(content, shift_ms)
        assert [line.line for line in found if isinstance(line, Accepted)] == [3, 8]
        assert [(line.line, line.refusal.reason.value) for line in found if isinstance(line, Refused)] == [
            (2, "not_json"),
            (4, "wrong_type"),
            (5, "missing_field"),
            (6, "invalid_time"),
            (7, "invalid_utf8"),
        ]


def test_a_line_of_any_length_is_refused_in_bounded_memory() -> None:
    found = read(b"x" * (2 * LINE_BYTES_MAX + 5) + b"\n" + line_of())
    assert isinstance(found[0], Refused)
    assert (found[0].line, found[0].refusal.reason.value) == (1, "too_large")
    assert isinstance(found[1], Accepted)


def test_a_shift_out_of_the_years_that_can_be_written_is_refused() -> None:
    (found,) = read(line_of(), shift_ms=-2_000_000_000_000)
    assert isinstance(found, Refused)
    assert found.refusal.error == "time: leaves the years 1970 to 9999"
    with pytest.raises(ValueError, match="1970 to 9999"):
        shifted(0, -1)
    assert shifted(1, -1) == "1970-01-01T00:00:00Z"
