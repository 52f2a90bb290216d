"""Streams that the provider cuts, and streams that a service leaves: what was delivered is billed and recorded.

The server bills four bytes of text as a token, as our estimates do, so that a stream's output must agree exactly.
OpenAI tells nothing of the input of a stream that is cut, so that is estimated by the request.
"""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic
from google import genai
from google.genai import types
from openai import AsyncOpenAI, OpenAI
from tests.contract.providers.agreement import ends
from tests.support.provider_books import TOKEN
from tests.support.provider_server import ProviderServer
from tests.waiting import wait_until

from tollgate.sdk import anthropic, google, openai
from tollgate.sdk.testing import RecordingTollgate

DELIVERED = 3

# "user" and "hello there" are 15 bytes, 4 tokens; "hello there" alone are 11, 3 tokens.
MESSAGES: Any = [{"role": "user", "content": "hello there"}]
INPUT = {"chat": 4, "responses": 3}
KINDS = ["chat", "responses", "messages", "google"]


def stream_of(server: ProviderServer, toll: RecordingTollgate, kind: str) -> Callable[[], Any]:
    """A function that begins a stream of an API, by a client that does not retry and that lives as long as it."""
    if kind in INPUT:
        ours = openai.metered(OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0), toll, user="u-42")
        if kind == "chat":
            return lambda: ours.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
        return lambda: ours.responses.create(model="gpt-5", input="hello there", stream=True)
    if kind == "messages":
        claude = anthropic.metered(Anthropic(base_url=server.url, api_key="x", max_retries=0), toll, user="u-42")
        return lambda: claude.messages.create(model="claude-opus-4-8", max_tokens=100, messages=MESSAGES, stream=True)
    gemini = google.metered(gemini_of(server), toll, user="u-42")
    return lambda: gemini.models.generate_content_stream(model="gemini-2.5-flash", contents="hello there")


def async_stream_of(server: ProviderServer, toll: RecordingTollgate, kind: str) -> Callable[[], Any]:
    if kind in INPUT:
        ours = openai.metered(AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0), toll, user="u-42")
        if kind == "chat":
            return lambda: ours.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
        return lambda: ours.responses.create(model="gpt-5", input="hello there", stream=True)
    if kind == "messages":
        claude = anthropic.metered(AsyncAnthropic(base_url=server.url, api_key="x", max_retries=0), toll, user="u-42")
        return lambda: claude.messages.create(model="claude-opus-4-8", max_tokens=100, messages=MESSAGES, stream=True)
    gemini = google.metered(gemini_of(server), toll, user="u-42")
    return lambda: gemini.aio.models.generate_content_stream(model="gemini-2.5-flash", contents="hello there")


def gemini_of(server: ProviderServer) -> genai.Client:
    return genai.Client(api_key="x", http_options=types.HttpOptions(base_url=server.url))


def is_text(event: Any) -> bool:
    return TOKEN in str(event)


def texts(stream: Any) -> Iterator[Any]:
    return (event for event in stream if is_text(event))


async def atexts(stream: Any) -> AsyncIterator[Any]:
    async for event in stream:
        if is_text(event):
            yield event


def agree(toll: RecordingTollgate, server: ProviderServer, kind: str) -> None:
    """One call, billed for what was delivered of it."""
    wait_until(lambda: server.books, what="the call in the provider's books")
    [line], [event] = server.books, toll.events
    billed = dict(line.usage)
    if kind in INPUT:
        billed = {"input_tokens": INPUT[kind], "output_tokens": billed["output_tokens"]}
    assert event.data["usage"] == billed
    assert event.data["usage"]["output_tokens"] >= DELIVERED


def estimated(kind: str) -> bool:
    """Google tells with every event what was used until then."""
    return kind != "google"


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_the_provider_cuts(server: ProviderServer, kind: str) -> None:
    server.cut_after = DELIVERED
    toll = RecordingTollgate()
    begin = stream_of(server, toll, kind)
    stream = begin()
    with pytest.raises(Exception, match=r"Connection error|peer closed"):
        list(stream)
    agree(toll, server, kind)
    assert ends(toll) == [("error", True, estimated(kind))]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_that_is_awaited_and_that_the_provider_cuts(server: ProviderServer, kind: str) -> None:
    server.cut_after = DELIVERED
    toll = RecordingTollgate()
    begin = async_stream_of(server, toll, kind)
    stream = await begin()
    with pytest.raises(Exception, match=r"Connection error|peer closed|payload is not completed"):
        async for _ in stream:
            pass
    agree(toll, server, kind)
    assert ends(toll) == [("error", True, estimated(kind))]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_the_service_closes(server: ProviderServer, kind: str) -> None:
    server.leaves_after = DELIVERED
    toll = RecordingTollgate()
    begin = stream_of(server, toll, kind)
    stream = begin()
    for number, _ in enumerate(texts(stream), 1):
        if number == DELIVERED:
            break
    stream.close()
    agree(toll, server, kind)
    assert ends(toll) == [("cancelled", True, estimated(kind))]


@pytest.mark.parametrize("kind", ["chat", "messages"])
def test_a_stream_whose_consumer_fails(server: ProviderServer, kind: str) -> None:
    server.leaves_after = DELIVERED
    toll = RecordingTollgate()
    begin = stream_of(server, toll, kind)

    def consume() -> None:
        with begin() as stream:
            for number, _ in enumerate(texts(stream), 1):
                if number == DELIVERED:
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()
    agree(toll, server, kind)
    assert ends(toll) == [("cancelled", True, True)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_is_forgotten_is_not_kept_alive(server: ProviderServer, kind: str) -> None:
    server.leaves_after = DELIVERED
    toll = RecordingTollgate()
    begin = stream_of(server, toll, kind)
    stream = begin()
    gone = weakref.ref(stream)
    events = texts(stream)
    for _ in range(DELIVERED):
        next(events)
    gc.collect()
    assert toll.events == []
    del stream, events
    gc.collect()
    assert gone() is None
    assert len(toll.events) == 1
    agree(toll, server, kind)


@pytest.mark.parametrize("kind", ["chat", "responses", "messages"])
def test_a_stream_that_nobody_reads(server: ProviderServer, kind: str) -> None:
    """The request is estimated, because nothing was heard of what it was billed."""
    toll = RecordingTollgate()
    begin = stream_of(server, toll, kind)
    stream = begin()
    del stream
    gc.collect()
    assert ends(toll) == [("cancelled", True, True)]
    assert toll.events[0].data["usage"] == {"input_tokens": {"chat": 4, "responses": 3, "messages": 4}[kind]}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_whose_task_is_cancelled(server: ProviderServer, kind: str) -> None:
    server.leaves_after = DELIVERED
    toll = RecordingTollgate()
    reached = asyncio.Event()

    begin = async_stream_of(server, toll, kind)

    async def read() -> None:
        number = 0
        async for event in await begin():
            number += is_text(event)
            if number == DELIVERED:
                reached.set()

    task = asyncio.create_task(read())
    await asyncio.wait_for(reached.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(agree, toll, server, kind)
    assert ends(toll) == [("cancelled", True, estimated(kind))]


@pytest.mark.parametrize("kind", ["chat", "messages"])
async def test_a_stream_that_a_task_leaves(server: ProviderServer, kind: str) -> None:
    server.leaves_after = DELIVERED
    toll = RecordingTollgate()
    async with await async_stream_of(server, toll, kind)() as stream:
        number = 0
        async for _ in atexts(stream):
            number += 1
            if number == DELIVERED:
                break
    await asyncio.to_thread(agree, toll, server, kind)
    assert ends(toll) == [("cancelled", True, True)]


async def test_a_call_that_is_cancelled_before_its_answer_costs_nothing(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    server.refuse(*[500] * 9)
    client = openai.metered(AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=8), toll, user="u-42")
    task = asyncio.create_task(client.chat.completions.create(model="gpt-4o", messages=MESSAGES))
    await asyncio.to_thread(wait_until, lambda: server.requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends(toll) == [("cancelled", False, False)]
    assert toll.events[0].data["usage"] == {}


def test_a_stream_without_its_end_is_what_was_said_of_it(server: ProviderServer) -> None:
    """Its usage came before its end, so that nothing is estimated."""
    server.says_done = False
    toll = RecordingTollgate()
    list(stream_of(server, toll, "chat")())
    assert ends(toll) == [("success", False, False)]
    assert toll.events[0].data["usage"] == server.books[0].usage
