"""Calls that no wrapper knows: what a block and a decorated function record, and what they do when blocked."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Generator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tollgate.sdk.answers import answer_of
from tollgate.sdk.context import call_context, current_names
from tollgate.sdk.errors import BlockedError
from tollgate.sdk.testing import RecordingTollgate
from tollgate.sdk.tracking import run_with_cost_tracking, track, tracked

SPEECH: Any = {"provider": "elevenlabs", "model": "v3", "user": "u-42"}


@pytest.fixture
def toll() -> RecordingTollgate:
    return RecordingTollgate()


def recorded(toll: RecordingTollgate) -> list[dict[str, Any]]:
    """The events' data without their latency, each with its user."""
    return [
        {"user": event.user, **{name: value for name, value in event.data.items() if name != "latency_ms"}}
        for event in toll.events
    ]


def test_a_block_records_one_event_with_what_it_used(toll: RecordingTollgate) -> None:
    with track(toll, agent="narrator", id="job-7", **SPEECH) as call:
        call.usage["characters"] = 1200
        call.fields["request_id"] = "r-1"
        assert toll.events == []
    assert recorded(toll) == [{**SPEECH, "agent": "narrator", "usage": {"characters": 1200}, "request_id": "r-1"}]
    assert toll.events[0].id == "job-7"
    assert 0 <= toll.events[0].data["latency_ms"] < 5_000


def test_a_block_that_says_nothing_used_one_request(toll: RecordingTollgate) -> None:
    with track(toll, **SPEECH):
        pass
    with track(toll, user="u-42") as call:
        call.fields["cost_usd"] = "0.25"
    assert [event["usage"] for event in recorded(toll)] == [{"requests": 1}, {}]


@pytest.mark.parametrize(
    ("error", "status"),
    [(LookupError, "error"), (asyncio.CancelledError, "cancelled"), (KeyboardInterrupt, "cancelled")],
)
def test_a_block_that_fails_bills_what_it_used(
    toll: RecordingTollgate, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), track(toll, **SPEECH):
        raise error
    call = track(toll, **SPEECH)
    call.usage["characters"] = 5
    with pytest.raises(error), call:
        raise error
    assert recorded(toll) == [
        {**SPEECH, "usage": {}, "status": status},
        {**SPEECH, "usage": {"characters": 5}, "status": status, "billed": True},
    ]


def test_a_provider_that_asks_to_wait_is_rate_limited(toll: RecordingTollgate) -> None:
    class TooManyRequestsError(Exception):
        status_code = 429

    with pytest.raises(TooManyRequestsError), track(toll, **SPEECH):
        raise TooManyRequestsError
    assert recorded(toll)[0]["status"] == "rate_limited"


def test_a_blocked_call_is_not_made_and_not_recorded(toll: RecordingTollgate) -> None:
    toll.deny("user/u-42", message="m", budget="b", until="2099-01-01T00:00:00Z", retry_after_seconds=7)
    with pytest.raises(BlockedError) as blocked, track(toll, **SPEECH):
        raise AssertionError("it was made")
    assert (blocked.value.http_status, blocked.value.budget) == (429, "b")
    assert answer_of(blocked.value).headers["Retry-After"] == "7"
    # Neither is a block that does nothing but meet a limit further in.
    with pytest.raises(BlockedError), track(toll, provider="p", model="m", user="u-1"):
        track(toll, **SPEECH)
    assert toll.events == []
    with track(toll, check=False, **SPEECH):
        pass
    assert len(toll.events) == 1


def test_the_check_asks_for_the_names_of_the_call_alone(toll: RecordingTollgate) -> None:
    with call_context(org="acme", request_id="r"), track(toll, feature="voice", id="i", latency_ms=3, **SPEECH) as call:
        assert call.decision is not None
    assert toll.checked == [{**SPEECH, "org": "acme", "feature": "voice"}]
    assert toll.events[0].data["latency_ms"] == 3


def test_names_are_inherited_and_the_model_is_not(toll: RecordingTollgate) -> None:
    with call_context(user="u-42", campaign="holiday-2024"), track(toll, agent="SEO", model="planner", provider="p"):
        assert current_names() == {"user": "u-42", "campaign": "holiday-2024", "agent": "SEO"}
        with track(toll, provider="elevenlabs", model="v3", agent="narrator"):
            assert current_names()["agent"] == "narrator"
    inner, outer = recorded(toll)
    assert inner == {**SPEECH, "agent": "narrator", "campaign": "holiday-2024", "usage": {"requests": 1}}
    assert (outer["agent"], outer["model"]) == ("SEO", "planner")
    assert current_names() == {}


def test_a_call_of_nobody_is_counted_for_unknown(toll: RecordingTollgate) -> None:
    with track(toll, provider="p", model="m"):
        pass
    assert recorded(toll)[0]["user"] == "unknown"


def test_a_wrong_amount_is_told_in_the_log_and_the_call_keeps_its_result(
    toll: RecordingTollgate, caplog: pytest.LogCaptureFixture
) -> None:
    @tracked(toll, usage=lambda result: {"characters": -len(result)}, **SPEECH)
    def speak() -> str:
        return "hello"

    @tracked(toll, usage=lambda result: {"characters": result.missing}, **SPEECH)
    def whisper() -> str:
        return "hello"

    assert speak() == "hello"
    assert whisper() == "hello"
    assert "a tracked call is not recorded: " in caplog.text
    assert "the function that tells the usage of a call failed: AttributeError" in caplog.text
    # It was made all the same.
    assert [event["usage"] for event in recorded(toll)] == [{"requests": 1}]


def test_wrong_names_fail_where_they_are_written(toll: RecordingTollgate) -> None:
    with pytest.raises(TypeError, match="'modle' is no field of a usage event: give agent, billed"):
        tracked(toll, modle="v3")
    with pytest.raises(TypeError, match="'modle' is no field"):
        track(toll, modle="v3")


def test_a_function_is_recorded_with_its_arguments_and_its_result(toll: RecordingTollgate) -> None:
    @tracked(
        toll,
        provider="elevenlabs",
        model="v3",
        usage=lambda audio: {"audio_seconds": audio["seconds"]},
        names=lambda text, user: {"user": user, "metadata": {"letters": len(text)}},
    )
    def speak(text: str, user: str) -> dict[str, str]:
        """Say it."""
        assert current_names() == {"user": user}
        return {"seconds": "1.5"}

    assert speak("hello", user="u-42") == {"seconds": "1.5"}
    assert (speak.__name__, speak.__doc__) == ("speak", "Say it.")
    assert recorded(toll) == [{**SPEECH, "usage": {"audio_seconds": "1.5"}, "metadata": {"letters": 5}}]


async def test_async_functions_run_side_by_side_with_their_own_names(toll: RecordingTollgate) -> None:
    barrier = asyncio.Barrier(2)

    @tracked(toll, provider="p", model="m", usage={"images": 1}, names=lambda user: {"user": user})
    async def draw(user: str) -> str:
        await barrier.wait()
        return current_names()["user"]

    assert inspect.iscoroutinefunction(draw)
    assert list(await asyncio.gather(draw("u-1"), draw("u-2"))) == ["u-1", "u-2"]
    assert sorted(event.user for event in toll.events) == ["u-1", "u-2"]


async def test_a_cancelled_async_function_is_recorded_as_cancelled(toll: RecordingTollgate) -> None:
    began = asyncio.Event()

    @tracked(toll, **SPEECH)
    async def speak() -> None:
        began.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(speak())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorded(toll) == [{**SPEECH, "usage": {}, "status": "cancelled"}]


def told(part: Any) -> Any:
    return {"output_tokens": part} if isinstance(part, int) else None


def test_a_generator_is_recorded_when_it_ends_with_what_its_last_part_told(toll: RecordingTollgate) -> None:
    @tracked(toll, usage=told, **SPEECH)
    def speak(*parts: Any) -> Generator[Any, str, str]:
        heard = []
        for part in parts:
            assert current_names() == {"user": "u-42"}
            heard.append((yield part))
        return repr(heard)

    assert list(speak("a", 3, "b", 7)) == ["a", 3, "b", 7]
    assert recorded(toll) == [{**SPEECH, "usage": {"output_tokens": 7}}]
    # What is sent in and what is returned pass through.
    stream = speak("a", "b")
    assert (next(stream), stream.send("x")) == ("a", "b")
    with pytest.raises(StopIteration, match=r"\['x', 'y'\]"):
        stream.send("y")
    assert current_names() == {}


def test_a_generator_that_is_left_early_bills_what_was_told_so_far(toll: RecordingTollgate) -> None:
    closed = []

    @tracked(toll, usage=told, **SPEECH)
    def speak() -> Iterator[Any]:
        try:
            yield "a"
            yield 3
            yield 9
        finally:
            closed.append(len(toll.events))

    for part in (stream := speak()):
        if part == 3:
            break
    stream.close()  # type: ignore[attr-defined]
    # Closed once, before the call is recorded.
    assert closed == [0]
    assert recorded(toll) == [{**SPEECH, "usage": {"output_tokens": 3}, "status": "cancelled", "billed": True}]


def test_what_is_thrown_into_a_generator_is_its_own_to_handle(toll: RecordingTollgate) -> None:
    @tracked(toll, **SPEECH)
    def speak() -> Generator[str, None, None]:
        try:
            yield "a"
        except LookupError:
            yield "caught"

    stream = speak()
    assert (next(stream), stream.throw(LookupError())) == ("a", "caught")
    with pytest.raises(ValueError, match="not caught"):
        stream.throw(ValueError("not caught"))
    assert recorded(toll) == [{**SPEECH, "usage": {}, "status": "error"}]


def test_a_blocked_generator_fails_at_the_call_and_an_unused_one_records_nothing(toll: RecordingTollgate) -> None:
    @tracked(toll, **SPEECH)
    def speak() -> Iterator[str]:
        yield "a"

    speak().close()  # type: ignore[attr-defined]
    toll.deny("user/u-42", message="m")
    with pytest.raises(BlockedError):
        speak()
    assert toll.events == []


async def test_an_async_generator_is_recorded_likewise(toll: RecordingTollgate) -> None:
    closed = []

    @tracked(toll, usage=told, **SPEECH)
    async def speak(*parts: Any) -> AsyncIterator[Any]:
        try:
            for part in parts:
                await asyncio.sleep(0)
                assert current_names() == {"user": "u-42"}
                if part is LookupError:
                    raise LookupError
                yield part
        finally:
            closed.append(len(toll.events))

    assert [part async for part in speak("a", 7)] == ["a", 7]
    stream: Any = speak("a", 3, 9)
    assert [await anext(stream), await anext(stream)] == ["a", 3]
    await stream.aclose()
    with pytest.raises(LookupError):
        [part async for part in speak(4, LookupError)]
    assert [(event["usage"], event.get("status")) for event in recorded(toll)] == [
        ({"output_tokens": 7}, None),
        ({"output_tokens": 3}, "cancelled"),
        ({"output_tokens": 4}, "error"),
    ]
    # Each is closed before it is recorded.
    assert closed == [0, 1, 2]


def test_a_stream_takes_as_long_as_it_is_read(toll: RecordingTollgate, monkeypatch: pytest.MonkeyPatch) -> None:
    @tracked(toll, **SPEECH)
    def speak() -> Iterator[str]:
        yield "a"

    # Made at 100 s, asked for its first part at 200 s, and at its end half a second later.
    times = iter([100, 200, 200.5])
    monkeypatch.setattr("tollgate.sdk.tracking.time", SimpleNamespace(monotonic=lambda: next(times)))
    assert list(speak()) == ["a"]
    assert toll.events[0].data["latency_ms"] == 500


def test_a_task_of_an_agent_gives_its_names_to_every_call_inside(toll: RecordingTollgate) -> None:
    def task(text: str) -> str:
        with track(toll, **SPEECH):
            return text

    result = run_with_cost_tracking(functools.partial(task, "done"), agent="SEO", campaign="holiday-2024", org="acme")
    assert result == "done"
    assert recorded(toll) == [
        {**SPEECH, "agent": "SEO", "campaign": "holiday-2024", "org": "acme", "usage": {"requests": 1}}
    ]
    assert current_names() == {}


async def test_a_task_of_an_agent_may_be_awaited_in_each_of_its_forms() -> None:
    async def task() -> dict[str, str]:
        await asyncio.sleep(0)
        return dict(current_names())

    names: Any = {"agent": "SEO", "campaign": "c"}
    assert await run_with_cost_tracking(task, **names) == names
    assert await run_with_cost_tracking(task(), **names) == names
    assert await run_with_cost_tracking(lambda: asyncio.create_task(task()), **names) == names
    started = asyncio.create_task(task())
    with pytest.raises(TypeError, match="the task runs already"):
        run_with_cost_tracking(started, agent="SEO")
    await started


def test_a_task_of_an_agent_at_its_limit_is_not_run(toll: RecordingTollgate) -> None:
    toll.deny("agent/SEO", message="m")
    with pytest.raises(BlockedError):
        run_with_cost_tracking(lambda: pytest.fail("it ran"), agent="SEO", toll=toll)
    assert run_with_cost_tracking(lambda: "ran", agent="writer", toll=toll) == "ran"
