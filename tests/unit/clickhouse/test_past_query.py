"""Questions of the pasts of meters, and their answers in parts, without ClickHouse."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from tollgate.schemas.meters import MeterRecord, PastRow, decode_past
from tollgate.sinks.clickhouse.past_query import PART_BYTES_MAX, Parts, Shape, question

METER = MeterRecord(
    meter="user/*+feature/video|month",
    scope="user/*+feature/video",
    calendar="month",
    partition=3,
    from_offset=70,
    window_start="2026-11-01T00:00:00Z",
    whole_from="2026-12-01T00:00:00Z",
    filled=False,
)
PART_ENTRY_BYTES_MAX = 500_000


@contextmanager
def parts_of(rows: list[PastRow]) -> Iterator[Parts]:
    """The rows as parts of the past of one meter."""
    parts = Parts([METER])
    for row in rows:
        parts.add(0, row)
    yield parts
    parts.close()


def test_a_question_sends_names_as_rows_and_never_in_its_text() -> None:
    hostile = "'; DROP TABLE usage_events; --{x:String}\\\"Ω"
    meter = msgspec.structs.replace(METER, scope=f"user/{hostile}+feature/*")
    other = msgspec.structs.replace(METER, scope="user/u-1+feature/*", partition=5, from_offset=9)
    sql, parameters, asked = question([meter, other])
    assert "DROP" not in sql
    # 2026-11-01 and 2026-12-01 in milliseconds.
    assert parameters == {"start_ms": 1793491200000, "whole_ms": 1796083200000}
    (table,) = asked.files
    assert (table.name, table.fmt) == ("asked", "JSONCompactEachRow")
    assert table.structure == "number UInt32, asked_partition Int32, asked_offset Int64, asked_user String"
    assert [json.loads(row) for row in table.data.split(b"\n")] == [[0, 3, 70, hostile], [1, 5, 9, "u-1"]]
    assert "AND user IN (SELECT asked_user FROM asked) AND feature != ''" in sql
    assert "INNER JOIN asked ON source_partition = asked_partition AND user = asked_user" in sql
    assert "GROUP BY number, feature, is_later" in sql


def test_a_question_about_everything_has_no_names() -> None:
    sql, _, asked = question([msgspec.structs.replace(METER, scope="global")])
    assert asked.files[0].data == b"[0,3,70]"
    assert "INNER JOIN asked ON source_partition = asked_partition" in sql
    assert "GROUP BY number, is_later" in sql


def test_a_name_that_was_escaped_in_the_scope_is_asked_for_as_events_have_it() -> None:
    _, _, asked = question([msgspec.structs.replace(METER, scope="user/a%2Bmodel/b")])
    assert asked.files[0].data == b'[0,3,70,"a+model/b"]'


def test_questions_are_alike_whose_names_partition_and_offset_alone_differ() -> None:
    shape = Shape.of(METER)
    alike = {"scope": "user/*+feature/chat", "partition": 0, "from_offset": 5, "meter": "x", "calendar": "month@UTC"}
    assert Shape.of(msgspec.structs.replace(METER, **alike)) == shape
    for scope in ("user/u+feature/video", "user/*+feature/*", "user/*+model/video", "feature/video", "global"):
        assert Shape.of(msgspec.structs.replace(METER, scope=scope)) != shape
    for instant in ("window_start", "whole_from"):
        assert Shape.of(msgspec.structs.replace(METER, **{instant: "2026-11-02T00:00:00Z"})) != shape


@pytest.mark.parametrize("change", [{"scope": "x/y"}, {"window_start": "soon"}, {"whole_from": "2026-11-01"}])
def test_what_is_no_question_is_a_value_error(change: dict[str, str]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 # of several functions, with texts of their own
        Shape.of(msgspec.structs.replace(METER, **change))


def test_a_past_without_rows_is_one_part_without_rows() -> None:
    with parts_of([]) as parts:
        (value,) = parts.values(0)
    past = decode_past(value)
    assert (past.meter, past.from_offset, past.part, past.parts, past.rows) == (METER.meter, 70, 0, 1, [])
    envelope = json.loads(value)
    assert (envelope["specversion"], envelope["type"]) == ("1.0", "tollgate.internal.past.v1")
    assert (envelope["subject"], envelope["id"], envelope["time"]) == (METER.meter, "70/0", METER.window_start)


def test_sums_beyond_64_bits_stay_exact() -> None:
    row: PastRow = ("global", 0, 10**26 + 1, 0, 3, {"input_tokens": 10**28 + 7})
    with parts_of([row]) as parts:
        (value,) = parts.values(0)
    assert decode_past(value).rows == [row]


def test_parts_are_as_large_as_they_may_be_and_hold_every_row_once_in_order() -> None:
    # Each is 100 bytes with its comma: 4,900 fill a part to the byte.
    rows: list[PastRow] = [(f"user/{n:079}", 0, 1, 1, 1, {}) for n in range(9_801)]
    assert len(msgspec.json.encode(rows[0])) == 99
    with parts_of(rows) as parts:
        values = list(parts.values(0))
        assert list(parts.values(0)) == values
    pasts = [decode_past(value) for value in values]
    assert [len(past.rows) for past in pasts] == [4900, 4900, 1]
    assert [(past.part, past.parts) for past in pasts] == [(0, 3), (1, 3), (2, 3)]
    assert [row for past in pasts for row in past.rows] == rows
    assert max(map(len, values)) <= PART_ENTRY_BYTES_MAX


def test_each_meter_has_parts_of_its_own() -> None:
    meters = [msgspec.structs.replace(METER, partition=number, from_offset=10 + number) for number in range(3)]
    rows: list[PastRow] = [(f"user/{n:079}", 0, 1, 1, 1, {}) for n in range(4_901)]
    parts = Parts(meters)
    for row in rows:
        parts.add(0, row)
    parts.add(2, rows[0])
    pasts = [[decode_past(value) for value in parts.values(number)] for number in (2, 1, 0)]
    parts.close()
    assert parts.rows == 4_902
    assert [[(past.from_offset, past.part, past.parts, len(past.rows)) for past in past_of] for past_of in pasts] == [
        [(12, 0, 1, 1)],
        [(11, 0, 1, 0)],
        [(10, 0, 2, 4_900), (10, 1, 2, 1)],
    ]
    with parts_of(rows) as alone:
        again = [decode_past(value).rows for value in alone.values(0)]
    assert [past.rows for past in pasts[2]] == again


def test_a_row_larger_than_a_part_is_one_by_itself() -> None:
    small: PastRow = ("a", 0, 1, 1, 1, {})
    large: PastRow = ("b" * PART_BYTES_MAX, 0, 1, 1, 1, {})
    with parts_of([small, large, small]) as parts:
        assert [len(decode_past(value).rows) for value in parts.values(0)] == [1, 1, 1]
