"""Anthropic's own client against a server that speaks its API: what is recorded is what the server bills."""

import asyncio
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic, Stream
from anthropic.types import Message
from tests.contract.providers.agreement import agree, ends
from tests.support.provider_server import ProviderServer

from tollgate.sdk.anthropic import metered
from tollgate.sdk.errors import BlockedError
from tollgate.sdk.testing import AsyncRecordingTollgate, RecordingTollgate

TOOLS: Any = [{"name": "look", "description": "looks", "input_schema": {"type": "object", "properties": {}}}]


def ask(text: str = "hello there") -> Any:
    return {"model": "claude-opus-4-8", "max_tokens": 100, "messages": [{"role": "user", "content": text}]}


def client_of(server: ProviderServer, toll: RecordingTollgate, **told: Any) -> Anthropic:
    return metered(Anthropic(base_url=server.url, api_key="x"), toll, **({"user": "u-42"} | told))


def test_messages_whole_in_streams_and_raw(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client:
        whole = client.messages.create(**ask())
        assert type(whole) is Message
        with client.messages.create(**ask(), stream=True) as stream:
            assert type(stream) is Stream
            assert [event.type for event in stream][-1] == "message_stop"
        with client.messages.stream(**ask()) as helper:
            assert "".join(helper.text_stream) == whole.content[0].text  # type: ignore[union-attr]
            assert helper.get_final_message().usage.output_tokens == whole.usage.output_tokens
        assert client.messages.with_raw_response.create(**ask()).parse().id == "msg_1"
        with client.messages.with_streaming_response.create(**ask()) as response:
            assert response.json()
        client.beta.messages.create(**ask())
    agree(toll, server, 6)
    assert set(ends(toll)) == {("success", False, False)}
    assert {event.data["provider"] for event in toll.events} == {"anthropic"}
    assert {event.data["operation"] for event in toll.events} == {"message"}


def test_tools(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client:
        assert client.messages.create(**ask(), tools=TOOLS).content[0].type == "tool_use"
        with client.messages.stream(**ask(), tools=TOOLS) as helper:
            assert helper.get_final_message().content[0].type == "tool_use"
    agree(toll, server, 2)


@pytest.mark.parametrize("statuses", [(429,), (500,), (529, 500)])
def test_retries_of_the_client_are_one_call(server: ProviderServer, statuses: tuple[int, ...]) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client:
        server.refuse(*statuses)
        client.messages.create(**ask())
        server.refuse(*statuses)
        list(client.messages.create(**ask(), stream=True))
    assert len(server.requests) == 2 + len(statuses) * 2
    agree(toll, server, 2)


def test_a_call_that_fails_is_recorded_and_costs_nothing(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll).with_options(max_retries=0) as client:
        for status, error in ((429, anthropic.RateLimitError), (500, anthropic.InternalServerError)):
            server.refuse(status)
            with pytest.raises(error):
                client.messages.create(**ask())
    assert server.books == []
    assert ends(toll) == [("rate_limited", False, False), ("error", False, False)]


async def test_many_calls_at_once_are_each_counted_once(server: ProviderServer) -> None:
    toll = AsyncRecordingTollgate()
    client = metered(
        AsyncAnthropic(base_url=server.url, api_key="x"), toll, user="u-42", reserve=True, estimate_usd="0.05"
    )

    async def one(number: int) -> None:
        if number % 3 == 0:
            await client.messages.create(**ask(str(number)))
        elif number % 3 == 1:
            async for _ in await client.messages.create(**ask(str(number)), stream=True):
                pass
        else:
            async with client.messages.stream(**ask(str(number))) as helper:
                await helper.get_final_message()

    async with client:
        server.refuse(429, 500, 500, 429)
        await asyncio.gather(*(one(number) for number in range(45)))
    agree(toll, server, 45)
    assert {asked.end for asked in toll.reservations.values()} == {"settled"}
    assert len(toll.reservations) == 45


def test_a_blocked_call_does_not_reach_the_provider_and_a_cheaper_one_may(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    toll.deny("model/claude-opus-4-8")
    with client_of(server, toll) as client, pytest.raises(BlockedError):
        client.messages.stream(**ask()).__enter__()
    assert server.requests == []
    with client_of(server, toll, on_block=lambda _decision, _body: {"model": "claude-haiku-4-5"}) as client:
        client.messages.create(**ask())
    agree(toll, server, 1)
    assert toll.events[0].data["model"] == "claude-haiku-4-5"
