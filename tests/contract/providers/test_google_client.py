"""Google's own client against a server that speaks its API: what is recorded is what the server bills."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from tests.contract.providers.agreement import agree, ends
from tests.support.provider_server import ProviderServer

from tollgate.sdk.errors import BlockedError
from tollgate.sdk.google import metered
from tollgate.sdk.testing import AsyncRecordingTollgate, RecordingTollgate

MODEL = "gemini-2.5-flash"


def look(at: str) -> str:
    """Looks at a place."""
    return at


@contextmanager
def client_of(server: ProviderServer, toll: Any, **told: Any) -> Iterator[genai.Client]:
    retries = types.HttpRetryOptions(attempts=4, initial_delay=0.01, jitter=0)
    options = types.HttpOptions(base_url=server.url, retry_options=retries)
    client = genai.Client(api_key="x", http_options=options)
    try:
        yield metered(client, toll, **({"user": "u-42"} | told))
    finally:
        client.close()


def test_content_whole_in_streams_and_in_chats(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client:
        whole = client.models.generate_content(model=MODEL, contents="hello")
        assert type(whole) is types.GenerateContentResponse
        streamed = "".join(
            part.text or "" for part in client.models.generate_content_stream(model=MODEL, contents="hello")
        )
        assert streamed == whole.text
        chat = client.chats.create(model=MODEL)
        chat.send_message("hello")
        list(chat.send_message_stream("hello again"))
    agree(toll, server, 4)
    assert set(ends(toll)) == {("success", False, False)}
    assert {(event.data["provider"], event.data["model"]) for event in toll.events} == {("google", MODEL)}


def test_each_request_of_automatic_function_calling_is_counted(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client:
        config = types.GenerateContentConfig(tools=[look])
        assert client.models.generate_content(model=MODEL, contents="where", config=config).text
    agree(toll, server, 2)


def test_embeddings(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client:
        client.models.embed_content(model="gemini-embedding-001", contents="hello")
        # Counting tokens is free.
        with pytest.raises(errors.ClientError):
            client.models.get(model="no-such-model")
    agree(toll, server, 1)
    assert toll.events[0].data["operation"] == "embed_content"


@pytest.mark.parametrize("statuses", [(429,), (500,), (503, 500)])
def test_retries_of_the_client_are_one_call(server: ProviderServer, statuses: tuple[int, ...]) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client:
        server.refuse(*statuses)
        client.models.generate_content(model=MODEL, contents="hello")
        server.refuse(*statuses)
        list(client.models.generate_content_stream(model=MODEL, contents="hello"))
    assert len(server.requests) == 2 + len(statuses) * 2
    agree(toll, server, 2)


def test_a_call_that_fails_is_recorded_and_costs_nothing(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client:
        for statuses, error in (([429] * 4, errors.ClientError), ([500] * 4, errors.ServerError)):
            server.refuse(*statuses)
            with pytest.raises(error):
                client.models.generate_content(model=MODEL, contents="hello")
            server.refuse(*statuses)
            with pytest.raises(error):
                list(client.models.generate_content_stream(model=MODEL, contents="hello"))
    assert server.books == []
    refused, failed = ("rate_limited", False, False), ("error", False, False)
    assert ends(toll) == [refused, refused, failed, failed]


async def test_many_calls_at_once_are_each_counted_once(server: ProviderServer) -> None:
    toll = AsyncRecordingTollgate()
    with client_of(server, toll, reserve=True, estimate_usd="0.05") as client:

        async def one(number: int) -> None:
            if number % 2:
                await client.aio.models.generate_content(model=MODEL, contents=str(number))
            else:
                async for _ in await client.aio.models.generate_content_stream(model=MODEL, contents=str(number)):
                    pass

        server.refuse(429, 500, 503)
        await asyncio.gather(*(one(number) for number in range(40)))
        await client.aio.models.embed_content(model="gemini-embedding-001", contents="hello")
        await client.aio.aclose()
    agree(toll, server, 41)
    assert [asked.end for asked in toll.reservations.values()] == ["settled"] * 41


def test_a_blocked_call_does_not_reach_the_provider_and_a_cheaper_one_may(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    toll.deny(f"model/{MODEL}")
    with client_of(server, toll) as client:
        with pytest.raises(BlockedError):
            client.models.generate_content(model=MODEL, contents="hello")
        with pytest.raises(BlockedError):
            list(client.models.generate_content_stream(model=MODEL, contents="hello"))
    assert server.requests == []
    with client_of(server, toll, on_block=lambda _decision, _body: {"model": "gemini-2.5-flash-lite"}) as client:
        client.models.generate_content(model=MODEL, contents="hello")
    assert server.requests[0][0].endswith("/models/gemini-2.5-flash-lite:generateContent")
    agree(toll, server, 1)
    assert toll.events[0].data["model"] == "gemini-2.5-flash-lite"


def test_wrong_use_says_what_to_write_instead(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client, pytest.raises(TypeError, match="metered already: say call_context"):
        metered(client, toll)
    with pytest.raises(TypeError, match=r"a google\.genai Client, not str"):
        metered("gemini", toll)
