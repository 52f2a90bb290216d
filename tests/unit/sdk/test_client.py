"""The client: what it takes, what it refuses at the call, and that nothing else ever raises."""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tests.support.usage_door import UsageDoor, usage_door
from tests.waiting import wait_until

from tollgate.sdk import AsyncTollgate, InvalidEventError, Recorder, Tollgate

GOOD: dict[str, Any] = {"user": "u-42", "provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 3}}


@pytest.fixture
def door() -> Iterator[UsageDoor]:
    with usage_door() as opened:
        yield opened


@pytest.fixture
def toll(door: UsageDoor, tmp_path: Path) -> Iterator[Tollgate]:
    with Tollgate(url=door.url, source="chat", token="t", spool_dir=tmp_path) as client:
        yield client


def sdk_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("tollgate-sdk")]


def test_what_is_recorded_arrives_with_its_id_source_and_token(door: UsageDoor, toll: Tollgate) -> None:
    told = toll.record(
        **GOOD, id="e1", time=datetime(2026, 11, 21, 10, tzinfo=UTC), agent="SEO", cost_usd=Decimal("0.10")
    )
    assert told == "e1"
    made = toll.record(**GOOD)
    assert toll.flush(5)
    assert door.ids() == ["e1", made]
    assert door.events[0] == {
        "specversion": "1.0",
        "type": "tollgate.usage.v1",
        "source": "chat",
        "id": "e1",
        "subject": "u-42",
        "time": "2026-11-21T10:00:00Z",
        "data": {
            "provider": "openai",
            "model": "gpt-4o",
            "usage": {"input_tokens": 3},
            "agent": "SEO",
            "cost_usd": "0.10",
        },
    }
    path, headers = door.requests[0]
    assert path == "/api/v1/usage"
    assert headers["Authorization"] == "Bearer t"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"time": datetime(2026, 11, 21, 10)}, "datetime.now(UTC)"),  # noqa: DTZ001 # this is what is wrong
        ({"time": "2026-11-21T10:00:00"}, "datetime.now(UTC)"),
        ({"time": 1795255200}, "datetime.now(UTC)"),
        ({"usage": {"input_tokens": -1}}, "0 or more"),
        ({"usage": {"video_seconds": 1.5}}, '"1.5" instead of 1.5'),
        ({"usage": {"input_tokens": None}}, "write an int"),
        ({"usage": {"input_tokens": "many"}}, "plain decimal number"),
        ({"usage": [1]}, 'write usage={"input_tokens": 1200'),
        ({"usage": {}}, "needs usage"),
        ({"model": None}, "needs provider and model, or agent, or cost_usd"),
        ({"cost_usd": 0.01}, 'cost_usd="0.012"'),
        ({"user": ""}, "subject: must not be empty"),
        ({"user": None}, "subject: is missing"),
        ({"user": "a\nb"}, "control characters"),
        ({"user": "\ud800"}, "UTF-8"),
        ({"id": "x" * 257}, "256 characters"),
        ({"status": "ok"}, "data.status"),
        ({"metadata": {"prompt": "x" * 70_000}}, "leave prompts"),
        ({"metadata": {"score": float("nan")}}, "finite numbers"),
        ({"latency_ms": float("inf")}, "finite numbers"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_wrong_use_fails_at_the_call_with_what_to_write(toll: Tollgate, wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidEventError) as caught:
        toll.record(**GOOD | wrong)
    assert sentence in str(caught.value)
    assert toll.stats.recorded == 0


def test_an_unknown_keyword_names_the_one_that_was_meant(toll: Tollgate) -> None:
    with pytest.raises(TypeError, match="modle is not a field of a usage event: write model="):
        toll.record(**GOOD | {"modle": "x"})
    with pytest.raises(TypeError, match="write metadata="):
        toll.record(**GOOD | {"colour": "x"})
    with pytest.raises(TypeError, match="holds no object: write text"):
        toll.record(**GOOD | {"metadata": {"x": object()}})


def test_a_closed_client_says_so(toll: Tollgate) -> None:
    toll.record(**GOOD)
    toll.close()
    toll.close()
    with pytest.raises(TypeError, match="the client is closed"):
        toll.record(**GOOD)
    with pytest.raises(TypeError, match="the client is closed"):
        toll.check(user="u1")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "say where events go"),
        ({"kafka": "k:9092", "url": "http://c"}, "not both"),
        ({"kafka": "http://c"}, "without a scheme"),
        ({"url": "console:8080"}, "http or https"),
        ({"kafka": "k:9092", "token": "t"}, "a token is for url"),
        ({"url": "http://c", "sasl_mechanism": "PLAIN"}, "sasl_mechanism"),
        ({"kafka": "k:9092", "source": ""}, "1 to 256 characters"),
        ({"kafka": "k:9092", "when_full": "wait"}, 'when_full="block"'),
        ({"kafka": "k:9092", "when_unknown": "maybe"}, 'when_unknown="closed"'),
        ({"kafka": "k:9092", "spool_bytes_max": 1000}, "at least 1048576"),
        ({"kafka": "k:9092", "flush_ms": 0}, "milliseconds, at least 1"),
        ({"kafka": "k:9092", "block_seconds_max": float("nan")}, "at least 0"),
        ({"kafka": "k:9092", "on_error": "log"}, "on_error is a function"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_a_client_is_not_made_from_what_cannot_work(
    arguments: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TOLLGATE_KAFKA_BOOTSTRAP_SERVERS", "TOLLGATE_URL", "TOLLGATE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TypeError, match=sentence.replace("(", r"\(")):
        Tollgate(**{"source": "chat"} | arguments)


def test_the_environment_says_where_events_go(door: UsageDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOLLGATE_KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.setenv("TOLLGATE_URL", f"{door.url}/")
    monkeypatch.setenv("TOLLGATE_TOKEN", "secret")
    monkeypatch.setenv("TOLLGATE_SPOOL_DIR", str(tmp_path / "here"))
    with Tollgate(source="chat") as client:
        client.record(**GOOD)
        assert client.flush(5)
        assert (tmp_path / "here").is_dir()
    assert door.requests[0][0] == "/api/v1/usage"
    assert door.requests[0][1]["Authorization"] == "Bearer secret"


def test_making_a_client_starts_nothing_and_touches_nothing(tmp_path: Path) -> None:
    before = sdk_threads()
    client = Tollgate(kafka="127.0.0.1:1", source="chat", spool_dir=tmp_path / "spool")
    assert client.stats.recorded == 0
    assert client.knowledge_age_ms is None
    assert client.flush(0.5)
    client.close()
    assert sdk_threads() == before
    assert not (tmp_path / "spool").exists() or not any((tmp_path / "spool").rglob("*.seg"))


def test_the_order_of_recording_is_the_order_of_sending_also_after_refusals_of_a_whole_request(
    door: UsageDoor, toll: Tollgate
) -> None:
    door.answers += [(503, {"Retry-After": "0"}, {}), (500, {}, {}), (429, {"Retry-After": "0"}, {})]
    ids = [toll.record(**GOOD) for _ in range(3000)]
    assert toll.flush(20)
    assert door.ids() == ids
    stats = toll.stats
    assert (stats.recorded, stats.sent, stats.spooled, stats.waiting, stats.dropped) == (3000, 3000, 3000, 0, 0)


def test_a_server_that_wants_to_be_left_alone_is(door: UsageDoor, toll: Tollgate) -> None:
    door.answers.append((429, {"Retry-After": "1"}, {}))
    begun = time.monotonic()
    toll.record(**GOOD)
    assert toll.flush(10)
    assert time.monotonic() - begun >= 0.99


def test_a_refused_event_is_told_and_the_rest_is_counted(
    door: UsageDoor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[str, Exception]] = []

    def on_error(event_id: str, error: Exception) -> None:
        told.append((event_id, error))
        raise RuntimeError("the service's own mistake")

    door.refuses = lambda event: "subject: is not welcome" if event["subject"] == "bad" else None
    with Tollgate(url=door.url, source="chat", spool_dir=tmp_path, on_error=on_error) as client:
        ids = [client.record(**GOOD | {"user": user}) for user in ("a", "bad", "b")]
        assert client.flush(5)
        assert client.stats.refused == 1
        assert client.stats.sent == 2
    assert door.ids() == [ids[0], ids[2]]
    assert [event_id for event_id, _ in told] == [ids[1]]
    assert "not welcome" in str(told[0][1])
    assert "a usage event will not be counted" in caplog.text
    assert "on_error failed" in caplog.text


def test_what_a_server_takes_in_no_request_is_found_and_only_that_is_refused(door: UsageDoor, toll: Tollgate) -> None:
    def judges(events: list[dict[str, Any]]) -> Any:
        if len(events) > 2:
            return 413, {}, {}
        return (422, {}, {}) if any(event["subject"] == "poison" for event in events) else None

    door.judges = judges
    ids = [toll.record(**GOOD | {"user": "poison" if number == 17 else "u1"}) for number in range(40)]
    assert toll.flush(10)
    assert door.ids() == ids[:17] + ids[18:]
    assert (toll.stats.refused, toll.stats.sent) == (1, 39)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((401, {}, {}), "give token"),
        ((404, {}, {}), "is url=… its address"),
        ((307, {"Location": "http://127.0.0.1:1/"}, {}), "is url=… its address"),
        ((202, {}, b"<html>"), "cannot be read"),
        ((202, {}, {"refused": [{"index": 10**9}, {"index": -1}]}), ""),
    ],
    ids=["no token", "another address", "a redirect", "no json", "hostile places"],
)
def test_an_answer_that_is_not_the_consoles_loses_nothing(
    door: UsageDoor, toll: Tollgate, caplog: pytest.LogCaptureFixture, answer: Any, sentence: str
) -> None:
    door.answers.append(answer)
    event_id = toll.record(**GOOD)
    assert toll.flush(10)
    assert sentence in caplog.text
    assert toll.stats.dropped == 0
    assert door.ids() == ([event_id] if sentence else [])


def test_a_server_that_is_away_fills_the_spool_and_the_next_client_empties_it(door: UsageDoor, tmp_path: Path) -> None:
    door.answers += [(503, {}, {})] * 2
    with Tollgate(url=door.url, source="chat", spool_dir=tmp_path) as client:
        ids = [client.record(**GOOD) for _ in range(10)]
        wait_until(lambda: client.stats.waiting == 10 and len(door.requests) >= 1)
        client.close(0)
    assert door.ids() == []
    door.answers.clear()
    with Tollgate(url=door.url, source="other", spool_dir=tmp_path) as client:
        later = client.record(**GOOD)
        assert client.flush(10)
        assert client.stats.taken_over == 10
    assert door.ids() == [*ids, later]


def test_memory_is_bounded_when_nothing_can_be_written_in_time(tmp_path: Path, door: UsageDoor) -> None:
    client = Tollgate(url=door.url, source="chat", spool_dir=tmp_path, memory_events_max=10, flush_ms=10_000)
    # The first wakes the thread, which looks again in ten seconds.
    client.record(**GOOD)
    wait_until(lambda: client.stats.spooled == 1)
    for _ in range(100):
        client.record(**GOOD)
    stats = client.stats
    assert stats.recorded == 101
    assert stats.dropped + stats.waiting + stats.sent == 101
    client.close()
    assert client.stats.waiting == 0
    assert client.stats.sent + client.stats.dropped == 101


def test_with_block_a_full_memory_makes_record_wait_but_not_for_long(tmp_path: Path, door: UsageDoor) -> None:
    with Tollgate(
        url=door.url, source="chat", spool_dir=tmp_path, memory_events_max=10, when_full="block", block_seconds_max=5
    ) as client:
        for _ in range(2000):
            client.record(**GOOD)
        assert client.flush(10)
        assert client.stats.sent == 2000


def test_with_block_what_the_spool_has_no_room_for_waits_in_order(tmp_path: Path, door: UsageDoor) -> None:
    is_open = threading.Event()
    door.judges = lambda _events: None if is_open.is_set() else (503, {"Retry-After": "0"}, {})
    with Tollgate(
        url=door.url,
        source="chat",
        spool_dir=tmp_path,
        spool_bytes_max=1 << 20,
        when_full="block",
        block_seconds_max=60,
    ) as client:
        ids = [client.record(**GOOD, metadata={"note": "x" * 1000}) for _ in range(1500)]
        # What does not fit is held back in parts of a quarter of this spool.
        wait_until(lambda: client.stats.spooled > 450)
        assert client.stats.spooled < 1000
        is_open.set()
        assert client.flush(20)
        assert (client.stats.sent, client.stats.dropped) == (1500, 0)
    assert door.ids() == ids


def test_many_threads_record_at_once(door: UsageDoor, toll: Tollgate) -> None:
    def work(name: str) -> None:
        for number in range(500):
            toll.record(**GOOD | {"user": name}, id=f"{name}-{number}")

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert toll.flush(20)
    assert len(door.ids()) == len(set(door.ids())) == 4000
    for number in range(8):
        own = [event_id for event_id in door.ids() if event_id.startswith(f"t{number}-")]
        assert own == [f"t{number}-{place}" for place in range(500)]


async def test_the_awaiting_client_runs_nothing_on_the_callers_loop(door: UsageDoor, tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with AsyncTollgate(url=door.url, source="chat", spool_dir=tmp_path) as client:
        assert isinstance(client, Recorder)
        event_id = client.record(**GOOD)
        assert await client.flush(5)
        assert asyncio.all_tasks() == before
        assert door.ids() == [event_id]
    assert sdk_threads() == []


def test_one_client_serves_several_loops(door: UsageDoor, tmp_path: Path) -> None:
    client = AsyncTollgate(url=door.url, source="chat", spool_dir=tmp_path)

    async def use() -> bool:
        client.record(**GOOD)
        return await client.flush(5)

    assert [asyncio.run(use()) for _ in range(3)] == [True, True, True]
    asyncio.run(client.close())
    assert len(door.ids()) == 3


def test_a_signals_handler_may_record_while_its_thread_does(door: UsageDoor, toll: Tollgate) -> None:
    def handler(_number: int, _frame: FrameType | None) -> None:
        toll.record(**GOOD)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for _ in range(3000):
            toll.record(**GOOD)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert toll.flush(20)
    assert toll.stats.recorded == toll.stats.sent == len(door.ids())
    assert toll.stats.recorded > 3000


@pytest.fixture(autouse=True)
def _logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "tollgate.sdk")
