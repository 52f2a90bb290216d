"""CSV to usage events: mapping, types, times, ids, refusals."""

import io
import json
from typing import Any

import pytest

from tollgate.cli.csv_events import CsvMapping, CsvReader
from tollgate.cli.exits import UsageError
from tollgate.cli.file_events import Accepted, Refused

# Three rows of a public trace of requests to a language model; the last two have the same numbers.
TRACE = b"""TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:04.0319600,3180,8
"""
MAPS = ["time=TIMESTAMP", "usage.input_tokens=ContextTokens", "usage.output_tokens=GeneratedTokens"]
SETS = ["provider=openai", "model=gpt-4o", "subject=u1"]


def read(
    content: bytes, maps: list[str] = MAPS, sets: list[str] = SETS, shift_ms: int = 0, **more: Any
) -> list[Accepted | Refused]:
    return list(CsvReader(CsvMapping.parse(maps, sets), **more).read(io.BytesIO(content), shift_ms))


def events(content: bytes, **options: Any) -> list[dict[str, Any]]:
    found = read(content, **options)
    assert all(isinstance(line, Accepted) for line in found), found
    return [json.loads(line.value) for line in found if isinstance(line, Accepted)]


def refusals(content: bytes, **options: Any) -> list[tuple[int, str, str]]:
    found = [line for line in read(content, **options) if isinstance(line, Refused)]
    return [(line.line, line.refusal.reason.value, line.refusal.error) for line in found]


def test_a_row_becomes_an_event_with_constants_and_typed_columns() -> None:
    event = events(TRACE)[0]
    assert event.pop("id").endswith("-1")
    assert event == {
        "specversion": "1.0",
        "type": "tollgate.usage.v1",
        "source": "publish",
        "subject": "u1",
        "time": "2023-11-16T18:17:03.979Z",
        "data": {
            "provider": "openai",
            "model": "gpt-4o",
            "usage": {"input_tokens": 4808, "output_tokens": 10},
        },
    }


def test_times_without_offset_are_utc_and_decimals_beyond_milliseconds_are_cut_off() -> None:
    assert [event["time"] for event in events(TRACE)] == [
        "2023-11-16T18:17:03.979Z",
        "2023-11-16T18:17:04.031Z",
        "2023-11-16T18:17:04.031Z",
    ]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-21T10:00:00+02:00", "2026-11-21T08:00:00Z"),
        ("2026-11-21 10:00:00Z", "2026-11-21T10:00:00Z"),
        ("2026-11-21 10:00", "2026-11-21T10:00:00Z"),
        ("2026-11-21", "2026-11-21T00:00:00Z"),
    ],
)
def test_other_ways_to_write_a_time(text: str, time: str) -> None:
    assert events(f"t\n{text}\n".encode(), maps=["time=t"], sets=[*SETS, "usage.requests=1"])[0]["time"] == time


@pytest.mark.parametrize("text", ["", "yesterday", "20261121", "2026-13-01", "1700000000"])
def test_a_time_that_is_none_is_refused_without_quoting_it(text: str) -> None:
    found = refusals(f"t,x\n{text},1\n".encode(), maps=["time=t", "usage.requests=x"])
    assert [(line, reason) for line, reason, _ in found] == [(2, "invalid_time")]
    assert not text or text not in found[0][2]


def test_a_shift_moves_times_and_leaves_ids_and_data() -> None:
    before, after = events(TRACE), events(TRACE, shift_ms=95_000_000_000)
    # 95,000,000 s are 1,099 days, 12 hours, 53 minutes and 20 seconds.
    assert after[0]["time"] == "2026-11-20T07:10:23.979Z"
    assert [event["id"] for event in before] == [event["id"] for event in after]
    assert [event["data"] for event in before] == [event["data"] for event in after]


def test_equal_rows_are_two_events_and_other_users_have_other_ids() -> None:
    ids = [event["id"] for event in events(TRACE)]
    assert len(set(ids)) == 3
    other = [event["id"] for event in events(TRACE, sets=["provider=openai", "model=gpt-4o", "subject=u2"])]
    assert not set(ids) & set(other)


def test_a_mapped_id_and_source_are_kept_and_an_empty_id_is_made() -> None:
    content = b"t,id,src,n\n2026-11-21T10:00:00Z,call-7,chat,1\n2026-11-21T10:00:00Z,,chat,1\n"
    first, second = events(content, maps=["time=t", "id=id", "source=src", "usage.requests=n"])
    assert (first["id"], first["source"]) == ("call-7", "chat")
    assert second["id"].endswith("-1")


def test_numbers_have_the_types_of_the_contract() -> None:
    content = b"t,seconds,ms,cost,billed,retail,size,note\n2026-11-21T10:00:00Z,1.50,812.9,0.0120,yes,5,1024x1024,42\n"
    columns = ["usage.video_seconds=seconds", "latency_ms=ms", "cost_usd=cost", "billed=billed", "retail_tokens=retail"]
    data = events(content, maps=["time=t", *columns, "options.size=size", "metadata.note=note"])[0]["data"]
    assert data == {
        "provider": "openai",
        "model": "gpt-4o",
        "usage": {"video_seconds": "1.5"},
        "latency_ms": 812,
        "cost_usd": "0.012",
        "billed": True,
        "retail_tokens": 5,
        "options": {"size": "1024x1024"},
        "metadata": {"note": "42"},
    }


def test_a_constant_stands_in_for_an_empty_cell() -> None:
    content = b"t,m,n\n2026-11-21T10:00:00Z,,1\n2026-11-21T10:00:00Z,gpt-5,1\n"
    found = events(content, maps=["time=t", "model=m", "usage.requests=n"])
    assert [event["data"]["model"] for event in found] == ["gpt-4o", "gpt-5"]


def test_bad_rows_are_refused_by_line_and_the_rest_goes_on() -> None:
    content = (
        b"TIMESTAMP,ContextTokens,GeneratedTokens\n"
        b"2023-11-16 18:17:03,1,2\n"
        b"2023-11-16 18:17:03,-1,2\n"
        b"2023-11-16 18:17:03,1\n"
        b"\n"
        b"2023-11-16 18:17:03,\xff,2\n"
        b"2023-11-16 18:17:03,many,2\n"
        b"2023-11-16 18:17:03,3,4\n"
    )
    found = read(content)
    assert [line.line for line in found if isinstance(line, Accepted)] == [2, 8]
    assert [(line.line, line.refusal.reason.value) for line in found if isinstance(line, Refused)] == [
        (3, "negative_usage"),
        (4, "invalid"),
        (6, "invalid_utf8"),
        (7, "invalid"),
    ]
    assert all("many" not in line.refusal.error for line in found if isinstance(line, Refused))


def test_a_byte_order_mark_and_another_delimiter_are_read() -> None:
    content = b"\xef\xbb\xbft;n\r\n2026-11-21T10:00:00Z;1\r\n"
    assert len(events(content, maps=["time=t", "usage.requests=n"], delimiter=";")) == 1


@pytest.mark.parametrize(
    ("maps", "sets", "says"),
    [
        (["time=T"], [], "--map subject=COLUMN"),
        ([], ["subject=u1"], "--map time=COLUMN"),
        (["tim=T"], [], "names no field"),
        (["usage.Tokens=T"], [], "names no field"),
        (["usage=T"], [], "names no field"),
        (["time"], [], "is not FIELD=COLUMN"),
        (["time="], [], "is not FIELD=COLUMN"),
        (["time=T", "time=U"], [], "twice"),
    ],
)
def test_a_mapping_that_cannot_work_is_a_usage_error(maps: list[str], sets: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        CsvMapping.parse(maps, sets)


def test_a_column_that_is_missing_or_there_twice_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"no column 'TIMESTAMP' for time: the header has t, n\."):
        read(b"t,n\n")
    with pytest.raises(UsageError, match="'t' more than once"):
        read(b"t,t\n", maps=["time=t"])
