"""A Slack-compatible server on this machine: what the alert sink needs of the Web API, an incoming webhook, and faults.

As a program: `python -m tests.support.slack_server --port 8085`; then set TOLLGATE_SLACK_API_URL to
`http://127.0.0.1:8085/api/`, TOLLGATE_SLACK_BOT_TOKEN to `xoxb-test` and TOLLGATE_SLACK_CHANNEL to `C0ALERTS`. The
webhook is `http://127.0.0.1:8085/services/T0/B0/secret`.

`GET /_messages` and `GET /_calls` show what happened. `POST /_faults` with the fields of `Fault` adds a fault, `DELETE
/_faults` takes all away.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from aiohttp import web
from tests.support.slack_rules import fault_of_message

TOKEN = "xoxb-test"
CHANNEL = "C0ALERTS"
WEBHOOK_PATH = "/services/T0/B0/secret"
RETRY_AFTER_SECONDS = 1

Body = dict[str, Any]


@dataclass
class Fault:
    """What goes wrong in the next `times` calls of `method` (`*` is any), counted down as it happens.

    `limit` (429) and `error` (an `ok: false` with `code`) refuse the call. `status`, `delay` and `drop` carry the call
    out first when `accept` is true: a server error, a late answer, a connection cut without an answer.
    """

    kind: Literal["limit", "error", "status", "delay", "drop"]
    method: str = "chat.postMessage"
    times: int = 1
    accept: bool = True
    code: str = "internal_error"
    status: int = 500
    seconds: float = 1.0


@dataclass
class Posted:
    """A message as it is now; `edits` holds every body it had, the first one included."""

    channel: str
    ts: str
    body: Body
    edits: list[Body] = field(default_factory=list)


@dataclass
class Call:
    """One request as it arrived; `at` is monotonic seconds."""

    method: str
    at: float
    answer: str = ""
    key: str = ""


class SlackServer:
    """The state and the answers. `messages` are in the order of posting."""

    def __init__(
        self, token: str = TOKEN, channels: Mapping[str, str] | None = None, post_spacing_s: float = 0
    ) -> None:
        self.token = token
        # Identifier by name; posting takes both, editing and history only identifiers, as at Slack.
        self.channels = dict(channels or {"#alerts": CHANNEL})
        self.post_spacing_s = post_spacing_s
        self.messages: list[Posted] = []
        self.webhook_bodies: list[Body] = []
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.url = ""
        self._last_ts = 0
        self._last_post_at = 0.0

    @property
    def api_url(self) -> str:
        """The value for TOLLGATE_SLACK_API_URL."""
        return f"{self.url}/api/"

    @property
    def webhook_url(self) -> str:
        """The value for TOLLGATE_SLACK_WEBHOOK_URL."""
        return f"{self.url}{WEBHOOK_PATH}"

    def accepted(self, method: str) -> int:
        """How many calls of the method were carried out, answered or not."""
        return sum(call.method == method and call.answer == "ok" for call in self.calls)

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_route("*", "/api/{method}", self._api)
        app.router.add_post(WEBHOOK_PATH, self._webhook)
        app.router.add_get("/_messages", self._show_messages)
        app.router.add_get("/_calls", self._show_calls)
        app.router.add_post("/_faults", self._add_fault)
        app.router.add_delete("/_faults", self._clear_faults)
        return app

    # What Slack offers.

    async def _api(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        body = await _body(request)
        answer = self._methods().get(method)
        if answer is None:
            return web.json_response({"ok": False, "error": "unknown_method"})
        return await self._answer(request, method, body, lambda: self._authorised(request, body) or answer(body))

    async def _webhook(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)

        def take() -> Body:
            fault = fault_of_message(body)
            if fault:
                return {"ok": False, "error": "invalid_payload", "detail": fault[1]}
            self.webhook_bodies.append(body)
            return {"ok": True}

        return await self._answer(request, "webhook", body, take)

    async def _answer(
        self, request: web.Request, method: str, body: Body, carry_out: Callable[[], Body]
    ) -> web.StreamResponse:
        payload = (body.get("metadata") or {}).get("event_payload") or {}
        call = Call(method, time.monotonic(), key=str(payload.get("alert_key", "")))
        self.calls.append(call)
        fault = self._next_fault(method)
        if (fault and fault.kind == "limit") or (method == "chat.postMessage" and self._too_fast(call.at)):
            call.answer = "ratelimited"
            seconds = str(int(fault.seconds)) if fault else str(RETRY_AFTER_SECONDS)
            return web.json_response(
                {"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": seconds}
            )
        if fault and fault.kind == "error":
            call.answer = fault.code
            return _in_form(method, {"ok": False, "error": fault.code})
        if fault and not fault.accept:
            result: Body = {"ok": False, "error": "internal_error"}
            call.answer = fault.kind
        else:
            result = carry_out()
            call.answer = "ok" if result["ok"] else result["error"]
        if fault and fault.kind == "status":
            return web.Response(status=fault.status, text="<html>upstream error</html>", content_type="text/html")
        if fault and fault.kind == "drop":
            assert request.transport is not None
            request.transport.abort()
        if fault and fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        return _in_form(method, result)

    def _methods(self) -> dict[str, Callable[[Body], Body]]:
        return {
            "auth.test": lambda _: {"ok": True, "team": "Local", "user": "tollgate", "url": self.url},
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "conversations.history": self._history,
        }

    def _authorised(self, request: web.Request, body: Body) -> Body | None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ") or body.get("token", "")
        if not given:
            return {"ok": False, "error": "not_authed"}
        return None if given == self.token else {"ok": False, "error": "invalid_auth"}

    def _post(self, body: Body) -> Body:
        named = str(body.get("channel", ""))
        channel = self.channels.get(named, named)
        if channel not in self.channels.values():
            return {"ok": False, "error": "channel_not_found"}
        fault = fault_of_message(body)
        if fault:
            return _refusal(fault)
        # Microseconds since the epoch, never the same twice: Slack's name of a message in its channel.
        self._last_ts = max(self._last_ts + 1, time.time_ns() // 1000)
        ts = f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"
        self.messages.append(Posted(channel, ts, body, [body]))
        return {"ok": True, "channel": channel, "ts": ts, "message": {"text": body.get("text", ""), "ts": ts}}

    def _update(self, body: Body) -> Body:
        if body.get("channel") not in self.channels.values():
            return {"ok": False, "error": "channel_not_found"}
        fault = fault_of_message(body)
        if fault:
            return _refusal(fault)
        for message in self.messages:
            if (message.channel, message.ts) == (body["channel"], body.get("ts")):
                message.body = body if body.get("metadata") else body | {"metadata": message.body.get("metadata")}
                message.edits.append(body)
                return {"ok": True, "channel": message.channel, "ts": message.ts, "text": body.get("text", "")}
        return {"ok": False, "error": "message_not_found"}

    def _history(self, body: Body) -> Body:
        if body.get("channel") not in self.channels.values():
            return {"ok": False, "error": "channel_not_found"}
        oldest, latest = float(body.get("oldest") or 0), float(body.get("latest") or 1e12)
        with_metadata = str(body.get("include_all_metadata", "")).lower() in ("1", "true")
        start, limit = int(body.get("cursor") or 0), int(body.get("limit") or 100)
        found = [m for m in reversed(self.messages) if m.channel == body["channel"] and oldest < float(m.ts) < latest]
        page = [
            {"type": "message", "ts": m.ts, "text": m.body.get("text", ""), "blocks": m.body.get("blocks") or []}
            | ({"metadata": m.body["metadata"]} if with_metadata and m.body.get("metadata") else {})
            for m in found[start : start + limit]
        ]
        more = start + limit < len(found)
        cursor = {"response_metadata": {"next_cursor": str(start + limit)}} if more else {}
        return {"ok": True, "messages": page, "has_more": more} | cursor

    # What goes wrong.

    def _next_fault(self, method: str) -> Fault | None:
        for fault in self.faults:
            if fault.method in ("*", method) and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def _too_fast(self, now_s: float) -> bool:
        if self.post_spacing_s and now_s - self._last_post_at < self.post_spacing_s:
            return True
        self._last_post_at = now_s
        return False

    # What tests look at.

    async def _show_messages(self, _: web.Request) -> web.Response:
        posted = [asdict(message) for message in self.messages]
        return web.json_response({"messages": posted, "webhook": self.webhook_bodies})

    async def _show_calls(self, _: web.Request) -> web.Response:
        return web.json_response({"calls": [asdict(call) for call in self.calls]})

    async def _add_fault(self, request: web.Request) -> web.Response:
        self.faults.append(Fault(**(await request.json())))
        return web.json_response({"ok": True})

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self.faults.clear()
        return web.json_response({"ok": True})


async def _body(request: web.Request) -> Body:
    body: Body = dict(request.query)
    if request.content_type == "application/json":
        body |= await request.json()
    else:
        body |= {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        for name in ("blocks", "metadata"):
            if isinstance(body.get(name), str):
                body[name] = json.loads(body[name])
    return body


def _refusal(fault: tuple[str, str]) -> Body:
    return {"ok": False, "error": fault[0], "response_metadata": {"messages": [f"[ERROR] {fault[1]}"]}}


def _in_form(method: str, result: Body) -> web.Response:
    """The Web API answers JSON with HTTP 200 whatever happened; a webhook answers a word and the status."""
    if method != "webhook":
        return web.json_response(result)
    if result["ok"]:
        return web.Response(text="ok", content_type="text/html")
    return web.Response(text=result["error"], status=400, content_type="text/html")


@asynccontextmanager
async def running(server: SlackServer, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[SlackServer]:
    """Serve on the port (0 picks a free one) until the block ends."""
    runner = web.AppRunner(server.application(), handler_cancellation=False, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        server.url = f"http://{host}:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


async def _serve(arguments: argparse.Namespace) -> None:
    server = SlackServer(arguments.token, {"#alerts": arguments.channel}, arguments.post_spacing)
    async with running(server, arguments.port):
        sys.stdout.write(json.dumps({"api_url": server.api_url, "webhook_url": server.webhook_url}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Serve until interrupted; the first line printed is JSON with the addresses."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default=TOKEN)
    parser.add_argument("--channel", default=CHANNEL)
    parser.add_argument("--post-spacing", type=float, default=0, help="answer 429 to posts closer than this (seconds)")
    try:
        asyncio.run(_serve(parser.parse_args()))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
