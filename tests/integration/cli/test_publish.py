"""`tollgate publish` against a real broker."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import Ran, records_of
from tests.support.usage import event

from tollgate.runtime.settings import Settings
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import USAGE_PARTITIONS, Topic

pytestmark = pytest.mark.integration

Tollgate = Callable[..., Ran]
TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:{number // 60:02}:{number % 60:02}.9799600,{100 + number % 7},{number % 3}\n"
    for number in range(3000)
)
OPTIONS = [
    *("--csv", "--map", "time=TIMESTAMP", "--map", "usage.input_tokens=ContextTokens"),
    *("--map", "usage.output_tokens=GeneratedTokens"),
    *("--set", "provider=openai", "--set", "model=gpt-4o", "--set", "subject=u1"),
]


def published(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in records_of(settings, Topic.USAGE)]


def test_a_trace_arrives_whole_in_its_users_partition(tollgate: Tollgate, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(TRACE)
    ran = tollgate("publish", str(file), *OPTIONS)
    assert (ran.status, ran.out, ran.err) == (0, "published 3,000 events, refused 0\n", "")
    records = records_of(settings, Topic.USAGE)
    assert len(records) == 3000
    assert {(record.key, record.partition) for record in records} == {(b"u1", partition_of(b"u1", USAGE_PARTITIONS))}
    assert [json.loads(record.value)["time"] for record in records[:2]] == [
        "2023-11-16T18:00:00.979Z",
        "2023-11-16T18:00:01.979Z",
    ]


def test_a_second_run_at_another_now_repeats_ids_and_data(
    tollgate: Tollgate, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(TRACE)
    for instant in ("2026-11-21T10:00:00Z", "2026-11-22T11:30:00Z"):
        report = tollgate("publish", str(file), *OPTIONS, "--shift-time", instant, "--json").json
        assert (report["published"], report["refused"], report["last_time"]) == (3000, 0, instant)
    events = published(settings)
    first, second = events[:3000], events[3000:]
    assert [e["id"] for e in first] == [e["id"] for e in second]
    assert [e["data"] for e in first] == [e["data"] for e in second]
    assert len({e["id"] for e in first}) == 3000
    assert (first[0]["time"], second[0]["time"]) == ("2026-11-21T09:10:01Z", "2026-11-22T10:40:01Z")


def test_bad_lines_are_named_and_the_others_arrive(tollgate: Tollgate, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    good = [json.dumps(event(f"e{number}", f"u{number}")) for number in range(20)]
    file.write_text("\n".join([*good[:10], '{"secret": "payload"}', *good[10:]]))
    ran = tollgate("publish", str(file))
    assert (ran.status, ran.out) == (1, "published 20 events, refused 1\n")
    assert ran.err.startswith("line 11 refused, missing_field: ")
    assert "payload" not in ran.err
    records = records_of(settings, Topic.USAGE)
    assert sorted(record.value.decode() for record in records) == sorted(good)
    assert all(r.partition == partition_of(r.key, USAGE_PARTITIONS) for r in records)
    assert all(r.key.decode() == json.loads(r.value)["subject"] for r in records)


def test_a_dry_run_sends_nothing(tollgate: Tollgate, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(TRACE)
    ran = tollgate("publish", str(file), *OPTIONS, "--dry-run")
    assert (ran.status, ran.out) == (0, "would publish 3,000 events, refused 0\n")
    assert records_of(settings, Topic.USAGE) == []


def test_events_that_are_ahead_of_the_clock_are_told(tollgate: Tollgate, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text(json.dumps(event(time="2999-01-01T00:00:00Z")))
    ran = tollgate("publish", str(file))
    assert (ran.status, ran.out) == (0, "published 1 events, refused 0\n")
    assert "1 events are more than 5 minutes ahead" in ran.err


def test_a_missing_topic_is_not_created_by_publishing(
    tollgate: Tollgate, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text(json.dumps(event()))
    monkeypatch.setenv("TOLLGATE_TOPIC_PREFIX", "absent.")
    for _ in range(2):
        ran = tollgate("publish", str(file))
        assert (ran.status, ran.out) == (3, "")
        assert "has no topic absent.usage: create the topics with `tollgate topics apply`" in ran.err


def test_a_file_in_three_spellings_is_three_events(tollgate: Tollgate, settings: Settings, tmp_path: Path) -> None:
    rows = (
        "time,user,model,input,output,agent\n"
        "2026-11-20T10:00:00Z,u-csv8,gpt-4o,1200,300,café\n"
        "2026-11-20T10:00:00Z,u-csv8,gpt-4o,1200,300,café\n"
        "2026-11-20T10:05:00Z,u-csv8,gpt-4o,10,,x\n"
    )
    maps = [
        *("time=time", "subject=user", "model=model", "usage.input_tokens=input", "usage.output_tokens=output"),
        "agent=agent",
    ]
    file = tmp_path / "rows.csv"
    for text, order in ((rows, maps), (rows, maps[::-1]), (rows.replace(",300,", ",300.0,"), maps)):
        file.write_text(text, encoding="utf-8")
        options = [word for option in order for word in ("--map", option)]
        ran = tollgate("publish", str(file), "--csv", *options, "--set", "provider=openai")
        assert (ran.status, ran.out) == (0, "published 3 events, refused 0\n")
    events = published(settings)
    assert len(events) == 9
    assert len({event["id"] for event in events}) == 3


def test_a_file_of_excel_is_named_in_one_sentence(tollgate: Tollgate, tmp_path: Path) -> None:
    file = tmp_path / "excel.csv"
    for content, says in ((b"sep=;\nt;n\n", "`sep=`"), ("t,n\n".encode("utf-16"), "UTF-16")):
        file.write_bytes(content)
        ran = tollgate("publish", str(file), *OPTIONS)
        assert ran.status == 2
        assert says in ran.err
        assert len(ran.err.splitlines()) == 1
