"""OpenAI's own client against a server that speaks its API: what is recorded is what the server bills."""

import asyncio
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, AsyncStream, AzureOpenAI, OpenAI, Stream
from openai.types.chat import ChatCompletion
from pydantic import BaseModel
from tests.contract.providers.agreement import agree, ends
from tests.support.provider_server import ProviderServer

from tollgate.sdk.context import call_context
from tollgate.sdk.errors import BlockedError
from tollgate.sdk.openai import metered
from tollgate.sdk.testing import AsyncRecordingTollgate, RecordingTollgate

TOOLS: Any = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
WAV = ("said.wav", b"RIFF", "audio/wav")


def ask(text: str = "hello there") -> Any:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}


def text_of(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def client_of(server: ProviderServer, toll: RecordingTollgate, **told: Any) -> OpenAI:
    return metered(OpenAI(base_url=f"{server.url}/v1", api_key="x"), toll, **({"user": "u-42"} | told))


def async_client_of(server: ProviderServer, toll: Any, **told: Any) -> AsyncOpenAI:
    return metered(AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x"), toll, **({"user": "u-42"} | told))


def test_the_client_stays_the_one_that_was_given(server: ProviderServer) -> None:
    plain = OpenAI(base_url=server.url, api_key="x")
    assert metered(plain, RecordingTollgate(), user="u-42") is plain
    assert type(plain) is OpenAI


def test_chat_completions_whole_and_in_streams(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client:
        whole = client.chat.completions.create(**ask())
        assert type(whole) is ChatCompletion
        with client.chat.completions.create(**ask(), stream=True) as stream:
            assert type(stream) is Stream
            text = text_of(stream)
        assert text == whole.choices[0].message.content
        with client.chat.completions.stream(**ask()) as helper:
            final = helper.until_done().get_final_completion()
        assert final.choices[0].message.content == text
        # The service asked for the usage itself, and sees it.
        asked = list(client.chat.completions.create(**ask(), stream=True, stream_options={"include_usage": True}))
        assert [chunk.usage.total_tokens for chunk in asked if chunk.usage] == [whole.usage.total_tokens]  # type: ignore[union-attr]
    agree(toll, server, 4)
    assert set(ends(toll)) == {("success", False, False)}
    assert {event.data["operation"] for event in toll.events} == {"chat.completion"}
    assert {event.data["model"] for event in toll.events} == {"gpt-4o"}


def test_the_service_sees_no_event_that_it_did_not_ask_for(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client, OpenAI(base_url=f"{server.url}/v1", api_key="x") as plain:
        seen = [chunk.to_dict() for chunk in client.chat.completions.create(**ask(), stream=True)]
        expected = [chunk.to_dict() for chunk in plain.chat.completions.create(**ask(), stream=True)]
    assert [body.get("stream_options") for _, body in server.requests] == [{"include_usage": True}, None]
    assert [{**chunk, "usage": None} for chunk in seen] == [{**chunk, "usage": None} for chunk in expected]


def test_a_server_that_does_not_know_stream_options_is_not_asked_again(server: ProviderServer) -> None:
    """Its usage is estimated: 15 bytes of request are 4 tokens."""
    server.knows_stream_options = False
    toll = RecordingTollgate()
    with client_of(server, toll) as client:
        for _ in range(2):
            chunks = list(client.chat.completions.create(**ask(), stream=True))
    assert ["stream_options" in body for _, body in server.requests] == [True, False, False]
    assert ends(toll) == [("success", False, True)] * 2
    assert toll.events[0].data["usage"] == {"input_tokens": 4, "output_tokens": len(text_of(chunks)) // 4}


def test_tools_and_parsed_answers(server: ProviderServer) -> None:
    class Look(BaseModel):
        at: str

    toll = RecordingTollgate()
    with client_of(server, toll) as client:
        called = client.chat.completions.create(**ask(), tools=TOOLS).choices[0].message.tool_calls
        assert called is not None
        list(client.chat.completions.create(**ask("tools"), tools=TOOLS, stream=True))
        with pytest.raises(ValueError, match="Look"):
            # The answer is no JSON: it was billed all the same.
            client.chat.completions.parse(**ask("parsed"), response_format=Look)
    agree(toll, server, 3)
    assert set(ends(toll)) == {("success", False, False)}


def test_raw_and_streaming_responses(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client:
        raw = client.chat.completions.with_raw_response.create(**ask())
        assert raw.parse().choices[0].message.content
        assert raw.headers["content-type"].startswith("application/json")
        streamed: Any = client.chat.completions.with_raw_response.create(**ask("2"), stream=True)
        assert len(list(streamed.parse())) > 1
        with client.chat.completions.with_streaming_response.create(**ask("3")) as response:
            assert response.json()
        with client.chat.completions.with_streaming_response.create(**ask("4"), stream=True) as response:
            lines = list(response.iter_lines())
        assert not any('"choices": []' in line for line in lines)
        assert "data: [DONE]" in lines
    agree(toll, server, 4)
    assert set(ends(toll)) == {("success", False, False)}


def test_responses_whole_in_streams_and_with_searches(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client:
        client.responses.create(model="gpt-5", input="hello")
        client.responses.create(model="gpt-5", input="hello", tools=[{"type": "web_search"}])
        list(client.responses.create(model="gpt-5", input="hello", stream=True))
        with client.responses.stream(model="gpt-5", input="hello") as stream:
            assert stream.get_final_response().output_text
    agree(toll, server, 4)
    assert [event.data["usage"].get("web_searches") for event in toll.events] == [None, 2, None, None]


def test_a_response_in_the_background_is_recorded_once_the_service_has_it(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    client = client_of(server, toll)
    with call_context(user="u-7"):
        made = client.responses.create(model="gpt-5", input="hello", background=True)
        assert made.status == "queued"
        assert client.responses.retrieve(made.id).status == "in_progress"
    assert toll.events == []
    with client:
        assert [client.responses.retrieve(made.id).status for _ in range(2)] == ["completed", "completed"]
    agree(toll, server, 1)
    assert toll.events[0].user == "u-7"


def test_embeddings_images_and_audio(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
        client.images.generate(model="dall-e-3", prompt="a bird", n=2, size="1024x1024", quality="hd")
        client.images.generate(model="gpt-image-1", prompt="a bird", n=2)
        client.images.edit(model="gpt-image-1", prompt="a bird", image=("bird.png", b"PNG", "image/png"))
        assert client.audio.speech.create(model="tts-1", voice="alloy", input="hello").read()
        with client.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="hey") as speech:
            assert speech.read()
        client.audio.transcriptions.create(model="whisper-1", file=WAV)
        client.audio.transcriptions.create(model="gpt-4o-transcribe", file=WAV)
        client.audio.translations.create(model="whisper-1", file=WAV, response_format="verbose_json")
    agree(toll, server, 9)
    assert [event.data["operation"] for event in toll.events] == [
        "embedding", "image.generation", "image.generation", "image.edit", "audio.speech", "audio.speech",
        "audio.transcription", "audio.transcription", "audio.translation",
    ]  # fmt: skip
    assert toll.events[1].data["options"] == {"size": "1024x1024", "quality": "hd"}


def test_realtime_connections(server: ProviderServer) -> None:
    toll = RecordingTollgate()

    def answers(connection: Any) -> None:
        connection.response.create()
        for event in connection:
            if event.type == "response.done":
                return

    with client_of(server, toll) as client:
        with client.realtime.connect(model="gpt-realtime") as connection:
            for _ in range(3):
                answers(connection)
            toll.deny("user/u-42")
            with pytest.raises(BlockedError):
                connection.response.create()
        with pytest.raises(BlockedError):
            client.realtime.connect(model="gpt-realtime")
    agree(toll, server, 3)
    assert {event.data["request_id"] for event in toll.events} == {"r1", "r2", "r3"}
    assert {event.data["model"] for event in toll.events} == {"gpt-realtime"}


def test_a_connection_may_be_made_for_a_cheaper_model_and_keeps_it(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    toll.deny("model/gpt-realtime")
    with (
        client_of(server, toll, on_block=lambda _decision, _body: {"model": "gpt-realtime-mini"}) as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        connection.response.create()
        while connection.recv().type != "response.done":
            pass
        toll.deny("model/gpt-realtime-mini")
        with pytest.raises(BlockedError):
            connection.response.create()
    agree(toll, server, 1)
    assert toll.events[0].data["model"] == server.books[0].model == "gpt-realtime-mini"


async def test_realtime_connections_that_are_awaited(server: ProviderServer) -> None:
    toll = AsyncRecordingTollgate()
    async with (
        async_client_of(server, toll) as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        await connection.response.create()
        async for event in connection:
            if event.type == "response.done":
                break
    agree(toll, server, 1)


@pytest.mark.parametrize("statuses", [(429,), (500,), (429, 500)])
def test_retries_of_the_client_are_one_call(server: ProviderServer, statuses: tuple[int, ...]) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client:
        server.refuse(*statuses)
        client.chat.completions.create(**ask())
        server.refuse(*statuses)
        list(client.chat.completions.create(**ask(), stream=True))
    assert len(server.requests) == 2 + len(statuses) * 2
    agree(toll, server, 2)
    assert len(toll.checked) == 2


def test_a_call_that_fails_is_recorded_and_costs_nothing(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll).with_options(max_retries=0) as client:
        for status, error in ((429, openai.RateLimitError), (500, openai.InternalServerError)):
            server.refuse(status)
            with pytest.raises(error):
                client.chat.completions.create(**ask())
    assert server.books == []
    assert ends(toll) == [("rate_limited", False, False), ("error", False, False)]
    assert [event.data["metadata"] for event in toll.events] == [{"http_status": 429}, {"http_status": 500}]


async def test_many_calls_at_once_are_each_counted_once(server: ProviderServer) -> None:
    toll = AsyncRecordingTollgate()

    async def one(client: AsyncOpenAI, number: int) -> None:
        with call_context(user=f"u-{number % 7}"):
            if number % 2:
                stream = await client.chat.completions.create(**ask(str(number)), stream=True)
                assert type(stream) is AsyncStream
                async for _ in stream:
                    pass
            else:
                await client.chat.completions.create(**ask(str(number)))

    async with async_client_of(server, toll) as client:
        server.refuse(429, 500, 500, 429)
        await asyncio.gather(*(one(client, number) for number in range(60)))
        async with client.responses.stream(model="gpt-5", input="hello") as helper:
            await helper.until_done()
        raw: Any = await client.chat.completions.with_raw_response.create(**ask("raw"), stream=True)
        assert [chunk async for chunk in raw.parse()]
        async with client.chat.completions.with_streaming_response.create(**ask("4")) as response:
            assert await response.json()
    agree(toll, server, 63)
    assert len({event.id for event in toll.events}) == 63
    assert [sum(event.user == f"u-{user}" for event in toll.events) for user in range(7)] == [9, 9, 9, 9, 8, 8, 8]


def test_threads_may_share_a_client(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll) as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: list(client.chat.completions.create(**ask(str(n)), stream=True)), range(40)))
    agree(toll, server, 40)


def test_copies_are_metered_once(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll, feature="chat") as client:
        copy = client.with_options(timeout=5).with_options(max_retries=1)
        copy.chat.completions.create(**ask())
        client.copy().embeddings.create(model="text-embedding-3-small", input="x")
    agree(toll, server, 2)
    assert {event.data["feature"] for event in toll.events} == {"chat"}


def test_azure_deployments_are_priced_as_the_model_that_answers(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    azure = AzureOpenAI(azure_endpoint=server.url, api_version="2024-10-21", api_key="x")
    with metered(azure, toll, user="u-42") as client:
        client.chat.completions.create(**{**ask(), "model": "our-deployment"})
        list(client.chat.completions.create(**{**ask(), "model": "our-deployment"}, stream=True))
    agree(toll, server, 2)
    assert {(event.data["provider"], event.data["model"]) for event in toll.events} == {("azure", "gpt-4o-2024-08-06")}
    assert server.requests[0][0] == "/openai/deployments/our-deployment/chat/completions"


def test_a_compatible_server_is_the_provider_that_it_is_said_to_be(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll, provider="vllm") as client:
        client.chat.completions.create(**{**ask(), "model": "llama-3"})
    assert (toll.events[0].data["provider"], toll.events[0].data["model"]) == ("vllm", "llama-3")
    groq = metered(OpenAI(base_url="https://api.groq.com/openai/v1", api_key="x"), toll, user="u-42")
    toll.deny("provider/groq")
    with pytest.raises(BlockedError), groq:
        groq.chat.completions.create(**ask())


def test_a_blocked_call_does_not_reach_the_provider_and_a_cheaper_one_may(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    toll.deny("model/gpt-4o")
    with client_of(server, toll) as client, pytest.raises(BlockedError) as raised:
        client.chat.completions.create(**ask(), stream=True)
    assert raised.value.http_status == 429
    assert (server.requests, toll.events) == ([], [])
    with client_of(server, toll, on_block=lambda _decision, _body: {"model": "gpt-4o-mini"}) as client:
        client.chat.completions.create(**ask())
    assert server.requests[0][1]["model"] == "gpt-4o-mini"
    agree(toll, server, 1)
    assert toll.events[0].data["model"] == "gpt-4o-mini"


def test_calls_are_reserved_for_and_settled(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    with client_of(server, toll, reserve=True, estimate_usd="0.05") as client:
        client.chat.completions.create(**ask())
        list(client.chat.completions.create(**ask(), stream=True))
    agree(toll, server, 2)
    assert [asked.end for asked in toll.reservations.values()] == ["settled", "settled"]


async def test_calls_that_are_awaited_are_reserved_for_by_either_client(server: ProviderServer) -> None:
    for toll in (AsyncRecordingTollgate(), RecordingTollgate()):
        server.books.clear()
        async with async_client_of(server, toll, reserve=True, estimate_usd="0.05") as client:
            await client.chat.completions.create(**ask())
            async for _ in await client.chat.completions.create(**ask(), stream=True):
                pass
        agree(toll, server, 2)
        assert [asked.end for asked in toll.reservations.values()] == ["settled", "settled"]


def test_wrong_use_says_what_to_write_instead(server: ProviderServer) -> None:
    toll = RecordingTollgate()
    client = client_of(server, toll)
    with client, pytest.raises(TypeError, match="metered already: say call_context"):
        metered(client, toll)
    with pytest.raises(TypeError, match="a client of the provider's library, not str"):
        metered("gpt-4o", toll)
    with pytest.raises(TypeError, match="needs a Tollgate: an AsyncTollgate awaits"):
        metered(OpenAI(api_key="x"), AsyncRecordingTollgate(), reserve=True, estimate_usd="0.05")
