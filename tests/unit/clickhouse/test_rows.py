"""Records as rows, without Kafka or ClickHouse."""

import json
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse.dead_letters import dead_letter_line, rejection_line
from tollgate.sinks.clickhouse.rows import TOPICS, rows_of
from tollgate.sinks.clickhouse.tables import DEAD_LETTERS, SPEND, Rejection, RowFormat, Table

# 2026-11-21T10:00:00.123Z
WRITTEN_AT_MS = 1795255200123


def arrived(
    value: bytes | None,
    key: bytes | None = b"k",
    offset: int = 5,
    headers: tuple[tuple[str, bytes], ...] = (),
    timestamp: int = WRITTEN_AT_MS,
) -> ConsumerRecord[Any, Any]:
    """A record of partition 3 as the consumer hands it over."""
    size = len(value) if value is not None else -1
    return ConsumerRecord("t", 3, offset, timestamp, 0, key, value, None, 1, size, headers)


def spend(spent: str, key: bytes, offset: int) -> ConsumerRecord[Any, Any]:
    window = {"kind": "month", "start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z", "timezone": "UTC"}
    value = {"scope": "global", "window": window, "spent_usd": spent, "events": 1, "usage": {"a": "0.5"}}
    return arrived(json.dumps(value).encode(), key, offset)


def test_the_sink_reads_the_outputs_the_control_topic_and_the_audit_but_not_usage() -> None:
    assert set(TOPICS) == {
        Topic.PRICED,
        Topic.ENTRIES,
        Topic.SPEND,
        Topic.FLAGS,
        Topic.ALERTS,
        Topic.DECISIONS,
        Topic.BALANCES,
        Topic.CONTROL,
        Topic.AUDIT,
        Topic.DEAD_LETTERS,
    }


def test_a_priced_value_is_its_own_row_byte_for_byte() -> None:
    values = [b'{"event_id":"e1","new":1}', b'{ "event_id" : "e2" }']
    (rows,), rejected = rows_of(Topic.PRICED, [arrived(value) for value in values])
    assert rows.lines == values
    assert rejected == []


def test_priced_values_that_would_shift_lines_are_mended_or_rejected() -> None:
    records = [arrived(b'{"a":\n"b\\n"}'), arrived(b""), arrived(None), arrived(b"{}\n{}"), arrived(b'{"c":1}')]
    (rows,), rejected = rows_of(Topic.PRICED, records)
    assert rows.lines == [b'{"a":"b\\n"}', b'{"c":1}']
    assert rows.records == [records[0], records[4]]
    assert [rejection.record for rejection in rejected] == records[1:4]
    assert rejected[0].error == "not a record for usage_events: the value is empty"


def test_of_a_batch_only_the_last_sum_of_a_key_becomes_a_row() -> None:
    records = [spend("1", b"a", 1), spend("2", b"b", 2), spend("3", b"a", 3), arrived(None, b"b", 4)]
    (rows,), rejected = rows_of(Topic.SPEND, records)
    assert [(json.loads(line)["spent_usd"], json.loads(line)["source_offset"]) for line in rows.lines] == [
        ("3", 3),
        ("2", 2),
    ]
    assert rejected == []


def test_a_spend_row_is_flat_and_has_its_place() -> None:
    (rows,), _ = rows_of(Topic.SPEND, [spend("104.2", b"a", 7)])
    assert json.loads(rows.lines[0]) == {
        "scope": "global",
        "window": "month",
        "window_start": "2026-11-01T00:00:00Z",
        "window_end": "2026-12-01T00:00:00Z",
        "timezone": "UTC",
        "spent_usd": "104.2",
        "retail_usd": "0",
        "usage": {"a": "0.5"},
        "events": 1,
        "reserved_usd": "0",
        "revenue_usd": "0",
        "calendar": "",
        "updated_at": "1970-01-01T00:00:00Z",
        "source_partition": 3,
        "source_offset": 7,
    }


@pytest.mark.parametrize("topic", [Topic.SPEND, Topic.FLAGS, Topic.ALERTS])
def test_what_is_no_record_is_rejected_without_its_content_in_the_reason(topic: Topic) -> None:
    records = [
        arrived(b"hush", b"1"),
        arrived(b'{"scope": ["hush"], "key": ["hush"]}', b"2"),
        arrived(b"\xffhush", b"3"),
    ]
    rows, rejected = rows_of(topic, records)
    assert rows == []
    assert len(rejected) == 3
    assert not [rejection for rejection in rejected if "hush" in rejection.error]


def test_control_records_without_a_table_are_passed_over() -> None:
    assert rows_of(Topic.CONTROL, [arrived(b"{}", b"token/free"), arrived(b"{}", None)]) == ([], [])


def test_a_budget_is_known_by_its_key() -> None:
    value = b'{"scope": "global", "limit": "1", "thresholds": {"warning": null, "critical": {"percent": "90"}}}'
    (rows,), _ = rows_of(Topic.CONTROL, [arrived(value, b"budget/a/b:month")])
    row = json.loads(rows.lines[0])
    assert (row["id"], row["removed"], row["critical_percent"]) == ("a/b:month", False, "90")
    assert "warning_percent" not in row


def test_a_dead_letters_bytes_are_escaped_for_tab_separated_lines() -> None:
    record = arrived(b"a\tb\nc\\d\x00\xff\r", b"k\t", headers=(("reason", b"not_json"), ("source_offset", b"12x")))
    fields = dead_letter_line(record).split(b"\t")
    assert fields == [
        b"2026-11-21T10:00:00.123Z",
        b"not_json",
        b"",
        b"",
        b"-1",
        b"-1",
        b"k\\t",
        b"a\\tb\\nc\\\\d\\0\xff\\r",
        b"{}",
        b"3",
        b"5",
    ]


def test_a_rejection_is_the_same_row_each_time_whatever_the_timestamp() -> None:
    rejection = Rejection(arrived(b"v", timestamp=2**62), "why")
    assert rejection_line(rejection) == rejection_line(rejection)
    assert rejection_line(rejection).split(b"\t") == [
        b"1970-01-01T00:00:00Z",
        b"sink_rejected",
        b"why",
        b"t",
        b"3",
        b"5",
        b"k",
        b"v",
        b"{}",
        b"-1",
        b"-1",
    ]


def test_an_insert_names_its_columns_and_reads_typed_rows_through_input() -> None:
    assert SPEND.statement == "INSERT INTO spend_records FORMAT JSONEachRow"
    assert DEAD_LETTERS.statement.startswith("INSERT INTO dead_letter_records (time, reason, error, ")
    assert DEAD_LETTERS.statement.endswith(", dead_letter_offset) FORMAT TabSeparated")
    typed = Table("t", RowFormat.JSON, ("a", "b"), ("Int8", "DateTime64(3, 'UTC')"))
    assert typed.statement == (
        "INSERT INTO t (a, b) SELECT a, b FROM input('a Int8, b DateTime64(3, \\'UTC\\')') FORMAT JSONEachRow"
    )
