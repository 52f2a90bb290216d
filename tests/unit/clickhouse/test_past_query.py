"""The question of a meter's past, and its answer in parts, without ClickHouse."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from tollgate.schemas.meters import MeterRecord, PastRow, decode_past
from tollgate.sinks.clickhouse.past_query import PART_BYTES_MAX, Parts, question

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
    """The rows as parts."""
    parts = Parts(METER)
    for row in rows:
        parts.add(row)
    yield parts
    parts.close()


def test_a_question_binds_names_and_never_holds_them() -> None:
    hostile = "'; DROP TABLE usage_events; --{x:String}\\"
    meter = msgspec.structs.replace(METER, scope=f"user/{hostile}+feature/*")
    sql, parameters = question([meter, msgspec.structs.replace(meter, partition=5, from_offset=9)])
    assert hostile not in sql
    assert "DROP" not in sql
    assert parameters == {
        "partitions": [3, 5],
        "offsets": [70, 9],
        # 2026-11-01 and 2026-12-01 in milliseconds.
        "start_ms": 1793491200000,
        "whole_ms": 1796083200000,
        "name_user": hostile,
    }
    assert "AND user = {name_user:String} AND feature != ''" in sql
    assert "GROUP BY source_partition, user, feature, is_later" in sql


def test_a_name_that_was_escaped_in_the_scope_is_asked_for_as_events_have_it() -> None:
    _, parameters = question([msgspec.structs.replace(METER, scope="user/a%2Bmodel/b")])
    assert parameters["name_user"] == "a+model/b"


@pytest.mark.parametrize("change", [{"scope": "x/y"}, {"window_start": "soon"}, {"whole_from": "2026-11-01"}])
def test_what_is_no_question_is_a_value_error(change: dict[str, str]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 # of several functions, with texts of their own
        question([msgspec.structs.replace(METER, **change)])


def test_a_past_without_rows_is_one_part_without_rows() -> None:
    with parts_of([]) as parts:
        (value,) = parts.values()
    past = decode_past(value)
    assert (past.meter, past.from_offset, past.part, past.parts, past.rows) == (METER.meter, 70, 0, 1, [])
    envelope = json.loads(value)
    assert (envelope["specversion"], envelope["type"]) == ("1.0", "tollgate.internal.past.v1")
    assert (envelope["subject"], envelope["id"], envelope["time"]) == (METER.meter, "70/0", METER.window_start)


def test_sums_beyond_64_bits_stay_exact() -> None:
    row: PastRow = ("global", 0, 10**26 + 1, 0, 3, {"input_tokens": 10**28 + 7})
    with parts_of([row]) as parts:
        (value,) = parts.values()
    assert decode_past(value).rows == [row]


def test_parts_are_as_large_as_they_may_be_and_hold_every_row_once_in_order() -> None:
    # Each is 100 bytes with its comma: 4,900 fill a part to the byte.
    rows: list[PastRow] = [(f"user/{n:079}", 0, 1, 1, 1, {}) for n in range(9_801)]
    assert len(msgspec.json.encode(rows[0])) == 99
    with parts_of(rows) as parts:
        values = list(parts.values())
        assert list(parts.values()) == values
    pasts = [decode_past(value) for value in values]
    assert [len(past.rows) for past in pasts] == [4900, 4900, 1]
    assert [(past.part, past.parts) for past in pasts] == [(0, 3), (1, 3), (2, 3)]
    assert [row for past in pasts for row in past.rows] == rows
    assert max(map(len, values)) <= PART_ENTRY_BYTES_MAX


def test_a_row_larger_than_a_part_is_one_by_itself() -> None:
    small: PastRow = ("a", 0, 1, 1, 1, {})
    large: PastRow = ("b" * PART_BYTES_MAX, 0, 1, 1, 1, {})
    with parts_of([small, large, small]) as parts:
        assert [len(decode_past(value).rows) for value in parts.values()] == [1, 1, 1]
