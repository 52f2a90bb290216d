"""A server on this machine that speaks the APIs of OpenAI, Anthropic and Google, bills every call, and can fail.

It runs on a thread of its own, so that clients that block may talk to it: `with ProviderServer(seed=1) as server:`.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

from aiohttp import WSMsgType, web
from tests.support.provider_books import (
    TOKEN,
    Booked,
    Truth,
    chat_usage,
    google_usage,
    message_usage,
    response_usage,
    truth_of,
)

Body = dict[str, Any]
Events = AsyncIterator[tuple[bytes, int]]


class ProviderServer:
    """`books` has every call that was billed, in order. Set before a call:

    - `refuse(429, 500)`: the next requests are answered with these statuses, and billed nothing.
    - `cut_after`: every stream is cut after so many tokens; `leaves_after`: it waits there until the client has left.
    - `tells_usage`: whether streams of chat completions can tell their usage; `knows_stream_options`: or refuse to.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.books: list[Booked] = []
        self.requests: list[tuple[str, Body]] = []
        self.cut_after: int | None = None
        self.leaves_after: int | None = None
        self.tells_usage = True
        self.knows_stream_options = True
        self.says_done = True
        self._refusals: deque[int] = deque()
        self._later: list[Body] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="provider-server", daemon=True)
        self._runner: web.AppRunner | None = None
        self.port = 0

    def refuse(self, *statuses: int) -> None:
        self._refusals.extend(statuses)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=16 << 20)
        for path in ("/v1/chat/completions", "/openai/deployments/{deployment}/chat/completions"):
            app.router.add_post(path, self._chat)
        app.router.add_post("/v1/responses", self._responses)
        app.router.add_get("/v1/responses/{id}", self._response)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_post("/v1/images/{what}", self._images)
        app.router.add_post("/v1/audio/{what}", self._audio)
        app.router.add_get("/v1/realtime", self._realtime)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/{version:v1|v1beta}/models/{call}", self._google)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _body(self, request: web.Request) -> Body:
        """The request's body; a refusal that is due is raised instead."""
        if request.content_type == "application/json":
            body: Body = await request.json()
        else:
            form = await request.post()
            body = {name: value for name, value in form.items() if isinstance(value, str)}
        self.requests.append((request.path, body))
        if self._refusals:
            status = self._refusals.popleft()
            answer = {"error": {"message": "refused", "type": "api_error", "code": status, "status": "UNAVAILABLE"}}
            raise _refusal(status, answer)
        return body

    def _book(self, request: web.Request, model: str, usage: Any, ended: str = "whole") -> None:
        self.books.append(Booked(request.path, model, dict(usage), ended))

    async def _stream(
        self, request: web.Request, model: str, events: Events, bill: Callable[[int | None], dict[str, Any]]
    ) -> web.StreamResponse:
        """Send the events, each with the tokens that it delivers. `bill` gives the usage after so many; None is all."""
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        sent = 0
        ended = "whole"
        try:
            async for event, tokens in events:
                if tokens and sent in {self.cut_after, self.leaves_after}:
                    ended = "cut" if sent == self.cut_after else "left"
                    break
                await response.write(event)
                sent += tokens
            if ended == "left":
                # The client's leaving cancels the handler.
                await asyncio.sleep(30)
        except (ConnectionResetError, asyncio.CancelledError):
            ended = "left"
        self._book(request, model, bill(None if ended == "whole" else sent), ended)
        if ended == "cut":
            assert request.transport is not None
            request.transport.abort()
        elif ended == "whole":
            await response.write_eof()
        return response

    # OpenAI

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        if "stream_options" in body and not self.knows_stream_options:
            raise _refusal(400, {"error": {"message": "Unrecognized request argument supplied: stream_options"}})
        truth = truth_of(self.seed, body["messages"])
        model = f"{body['model']}-2024-08-06" if "deployment" not in request.match_info else "gpt-4o-2024-08-06"
        head = {"id": "chatcmpl-1", "created": 1, "model": model, "service_tier": body.get("service_tier", "default")}
        if not body.get("stream"):
            self._book(request, body["model"], truth.dimensions())
            message: Body = {"role": "assistant", "content": TOKEN * truth.shown}
            if body.get("tools"):
                call = {"name": "look", "arguments": json.dumps({"at": TOKEN * (truth.shown - 3)})}
                message = {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
                }
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            answer = {**head, "object": "chat.completion", "choices": [choice], "usage": chat_usage(truth)}
            return web.json_response(answer)
        return await self._stream(request, body["model"], self._chunks(body, truth, head), _bill(body, truth))

    async def _chunks(self, body: Body, truth: Truth, head: Body) -> Events:
        asked = (body.get("stream_options") or {}).get("include_usage") and self.tells_usage
        more = {"usage": None} if asked else {}

        def chunk(delta: Body, finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return _sse({**head, "object": "chat.completion.chunk", "choices": [choice], **more})

        yield chunk({"role": "assistant", "content": ""}), 0
        if body.get("tools"):
            call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
            yield chunk({"tool_calls": [call]}), 1
            for piece in ('{"a":', '"bcd'):
                yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}), 1
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"}'}}]}), truth.shown - 3
        else:
            for _ in range(truth.shown):
                yield chunk({"content": TOKEN}), 1
        yield chunk({}, "stop"), 0
        if asked:
            yield _sse({**head, "object": "chat.completion.chunk", "choices": [], "usage": chat_usage(truth)}), 0
        if self.says_done:
            yield b"data: [DONE]\n\n", 0

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        truth = truth_of(self.seed, body["input"])
        text = {"type": "output_text", "text": TOKEN * truth.shown, "annotations": []}
        output: list[Body] = [
            {"id": "m1", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
        ]
        if any(tool.get("type") == "web_search" for tool in body.get("tools", [])):
            truth = Truth(**{**vars(truth), "searches": 2})
            search = {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}}
            opened = {**search, "action": {"type": "open_page", "url": "http://127.0.0.1"}}
            output = [{**search, "id": "w1"}, {**opened, "id": "w2"}, {**search, "id": "w3"}, *output]
        answer = {
            "id": "resp_1", "object": "response", "created_at": 1, "model": body["model"], "status": "completed",
            "output": output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
            "usage": response_usage(truth),
        }  # fmt: skip
        if body.get("background"):
            self._later = [{**answer, "status": "in_progress", "output": [], "usage": None}, answer]
            self._book(request, body["model"], truth.dimensions())
            return web.json_response({**self._later[0], "status": "queued"})
        if not body.get("stream"):
            self._book(request, body["model"], truth.dimensions())
            return web.json_response(answer)

        async def events() -> Events:
            begun = {**answer, "status": "in_progress", "output": [], "usage": None}
            yield _typed("response.created", response=begun), 0
            item = {"id": "m1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
            yield _typed("response.output_item.added", output_index=0, item=item), 0
            place = {"item_id": "m1", "output_index": 0, "content_index": 0}
            yield _typed("response.content_part.added", **place, part={**text, "text": ""}), 0
            for _ in range(truth.shown):
                yield _typed("response.output_text.delta", **place, delta=TOKEN, logprobs=[]), 1
            yield _typed("response.output_text.done", **place, text=text["text"], logprobs=[]), 0
            yield _typed("response.completed", response=answer), 0

        return await self._stream(request, body["model"], events(), _bill(body, truth))

    async def _response(self, _request: web.Request) -> web.StreamResponse:
        """One that is made in the background: in progress when it is first asked for, then completed."""
        return web.json_response(self._later.pop(0) if len(self._later) > 1 else self._later[0])

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        tokens = truth_of(self.seed, body["input"]).fresh
        self._book(request, body["model"], {"input_tokens": tokens})
        data = [{"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": usage})

    async def _images(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        count = int(body.get("n", 1))
        answer: Body = {"created": 1, "data": [{"b64_json": "aW1n"}] * count}
        if body["model"].startswith("dall-e"):
            self._book(request, body["model"], {"images": count})
        else:
            details = {"text_tokens": 12, "image_tokens": 40}
            answer["usage"] = {
                "input_tokens": 52, "input_tokens_details": details, "output_tokens": 272 * count,
                "total_tokens": 52 + 272 * count,
            }  # fmt: skip
            billed = {"input_tokens": 52, "input_image_tokens": 40}
            self._book(
                request,
                body["model"],
                {**billed, "output_tokens": 272 * count, "output_image_tokens": 272 * count},
            )
        return web.json_response(answer)

    async def _audio(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        if request.match_info["what"] == "speech":
            self._book(request, body["model"], {"characters": len(body["input"])})
            return web.Response(body=b"RIFF" * 512, content_type="audio/wav")
        answer: Body = {"text": TOKEN * 5}
        if body["model"] == "whisper-1":
            self._book(request, body["model"], {"audio_seconds": "12.5"})
            answer["usage"] = {"type": "duration", "seconds": 12.5}
            if request.match_info["what"] == "translations":
                answer = {"text": TOKEN * 5, "duration": 12.5, "language": "english", "segments": []}
        else:
            self._book(request, body["model"], {"input_tokens": 30, "input_audio_tokens": 26, "output_tokens": 5})
            answer["usage"] = {
                "type": "tokens", "input_tokens": 30, "output_tokens": 5, "total_tokens": 35,
                "input_token_details": {"audio_tokens": 26, "text_tokens": 4},
            }  # fmt: skip
        return web.json_response(answer)

    async def _realtime(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        model = request.query["model"]
        await socket.send_json({"type": "session.created", "event_id": "e0", "session": {"type": "realtime"}})
        asked = 0
        async for message in socket:
            if message.type is WSMsgType.TEXT and json.loads(message.data)["type"] == "response.create":
                asked += 1
                usage = {
                    "input_tokens": 60 + asked, "output_tokens": 30, "total_tokens": 90 + asked,
                    "input_token_details": {
                        "text_tokens": 20 + asked, "audio_tokens": 40, "cached_tokens": 16,
                        "cached_tokens_details": {"text_tokens": 10, "audio_tokens": 6},
                    },
                    "output_token_details": {"text_tokens": 8, "audio_tokens": 22},
                }  # fmt: skip
                billed = {
                    "input_tokens": 60 + asked, "cached_input_tokens": 16, "input_audio_tokens": 40,
                    "cache_audio_read_tokens": 6, "output_tokens": 30, "output_audio_tokens": 22,
                }  # fmt: skip
                self._book(request, model, billed)
                place = {"response_id": f"r{asked}", "item_id": "i1", "output_index": 0, "content_index": 0}
                await socket.send_json({"type": "response.output_audio.delta", **place, "delta": "AAAA" * 50})
                response = {"id": f"r{asked}", "object": "realtime.response", "status": "completed", "usage": usage}
                await socket.send_json({"type": "response.done", "event_id": "e1", "response": response})
        return socket

    # Anthropic

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        truth = truth_of(self.seed, body["messages"], caches_writes=True)
        block: Body = {"type": "text", "text": TOKEN * truth.shown}
        if body.get("tools"):
            block = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": TOKEN * (truth.shown - 3)}}
        message = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": [block],
            "stop_reason": "end_turn", "stop_sequence": None, "usage": message_usage(truth),
        }  # fmt: skip
        if not body.get("stream"):
            self._book(request, body["model"], truth.dimensions())
            return web.json_response(message)

        async def events() -> Events:
            begun = {**message_usage(truth), "output_tokens": 1, "output_tokens_details": None}
            yield _named("message_start", message={**message, "content": [], "stop_reason": None, "usage": begun}), 0
            empty = {**block, "input": {}} if "input" in block else {**block, "text": ""}
            yield _named("content_block_start", index=0, content_block=empty), 0
            yield _named("ping"), 0
            for piece in range(truth.shown):
                delta: Body = {"type": "text_delta", "text": TOKEN}
                if "input" in block:
                    parts = ['{"at', '": "', *["abc "] * (truth.shown - 3), '" } ']
                    delta = {"type": "input_json_delta", "partial_json": parts[piece]}
                yield _named("content_block_delta", index=0, delta=delta), 1
            yield _named("content_block_stop", index=0), 0
            end = {"stop_reason": "end_turn", "stop_sequence": None}
            told = {name: message_usage(truth)[name] for name in ("output_tokens", "output_tokens_details")}
            yield _named("message_delta", delta=end, usage=told), 0
            yield _named("message_stop"), 0

        return await self._stream(request, body["model"], events(), _bill(body, truth))

    # Google

    async def _google(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        model, _, method = request.match_info["call"].partition(":")
        if method in {"embedContent", "batchEmbedContents"}:
            self._book(request, model, {"input_tokens": 9})
            found = {"values": [0.25, 0.5]}
            usage = {"promptTokenCount": 9, "totalTokenCount": 9}
            return web.json_response({"embedding": found, "embeddings": [found], "usageMetadata": usage})
        truth = truth_of(self.seed, body["contents"], tools=True)
        head = {"modelVersion": model, "responseId": "g1"}
        called = any(part.get("functionResponse") for content in body["contents"] for part in content["parts"])

        def answer(parts: list[Body], shown: int, finish: str | None) -> Body:
            candidate = {"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0}
            return {**head, "candidates": [candidate], "usageMetadata": google_usage(truth, shown)}

        parts: list[Body] = [{"text": TOKEN * truth.shown}]
        if body.get("tools") and not called:
            parts = [{"functionCall": {"name": "look", "args": {"at": "there"}}}]
        if method == "generateContent":
            self._book(request, model, truth.dimensions())
            return web.json_response(answer(parts, truth.shown, "STOP"))

        async def events() -> Events:
            for number in range(1, truth.shown + 1):
                yield _sse(answer([{"text": TOKEN}], number, None)), 1
            yield _sse(answer([{"text": ""}], truth.shown, "STOP")), 0

        def bill(sent: int | None) -> dict[str, Any]:
            # The prompt, the thoughts and what was shown by then.
            return (truth if sent is None else Truth(**{**vars(truth), "shown": sent})).dimensions()

        return await self._stream(request, model, events(), bill)


def _bill(body: Body, truth: Truth) -> Callable[[int | None], dict[str, Any]]:
    """The whole usage, or of a stream that was not whole: what was delivered, without hidden thoughts."""

    def bill(sent: int | None) -> dict[str, Any]:
        return (truth if sent is None else Truth(**{**vars(truth), "shown": sent, "thoughts": 0})).dimensions()

    return bill


def _refusal(status: int, answer: Body) -> web.HTTPException:
    kind = type("Refusal", (web.HTTPException,), {"status_code": status})
    refusal: web.HTTPException = kind(
        text=json.dumps(answer), content_type="application/json", headers={"retry-after-ms": "5"}
    )
    return refusal


def _sse(document: Body) -> bytes:
    return f"data: {json.dumps(document)}\n\n".encode()


def _named(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def _typed(kind: str, **fields: Any) -> bytes:
    return _named(kind, sequence_number=0, **fields)
