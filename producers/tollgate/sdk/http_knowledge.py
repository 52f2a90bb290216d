"""What a client knows of limits, from the console's API: for services without Kafka."""

import asyncio
import logging
from typing import Final

import msgspec

from tollgate.schemas.instants import parse_instant
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.sdk.errors import UnavailableError
from tollgate.sdk.held_flag import HeldFlag
from tollgate.sdk.http_api import HttpApi
from tollgate.sdk.knowledge import Knowledge

log = logging.getLogger("tollgate.sdk")

_STREAM: Final = "/stream?kinds=flag&kinds=budget"
# The console's heartbeat comes each 10 s.
_SILENT_SECONDS_MAX: Final = 25.0
_RETRY_SECONDS: Final = 2.0


class _Frame(msgspec.Struct):
    items: list[msgspec.Raw] = []
    snapshot: bool = False
    more: int = 0


class _Heartbeat(msgspec.Struct):
    now: str
    as_of: dict[str, str | None] = {}


class _Flag(msgspec.Struct):
    scope: str
    state: str


class _Budget(msgspec.Struct):
    id: str
    gone: bool = False


_frame: Final = msgspec.json.Decoder(_Frame).decode
_heartbeat: Final = msgspec.json.Decoder(_Heartbeat).decode
_flag: Final = msgspec.json.Decoder(_Flag).decode
_budget: Final = msgspec.json.Decoder(_Budget).decode


class HttpKnowledge:
    """Follows the console's stream of flags and budgets into a `Knowledge`. What a frame leaves out is read as a list.

    The age of the knowledge is what the console says in its heartbeats, by its own clock.
    """

    def __init__(self, api: HttpApi, knowledge: Knowledge) -> None:
        self._api = api
        self._knowledge = knowledge
        self._has_flags = False

    async def run(self) -> None:
        """As `Feed.run`."""
        told = False
        try:
            while True:
                self._has_flags = False
                try:
                    async for event, data in self._api.frames(_STREAM, _SILENT_SECONDS_MAX):
                        await self._take_frame(event, data)
                        told = False
                except UnavailableError as error:
                    if not told:
                        log.warning("limits cannot be read now; going on with what is known: %s", error)
                        told = True
                await asyncio.sleep(_RETRY_SECONDS)
        finally:
            await self._api.close()

    async def _take_frame(self, event: str, data: bytes) -> None:
        try:
            await self._take(event, data)
        except (ValueError, UnicodeDecodeError) as error:
            log.warning("ignored a frame of the console's stream that cannot be read: %s", type(error).__name__)

    async def _take(self, event: str, data: bytes) -> None:
        if event == "flag":
            await self._take_flags(_frame(data))
        elif event == "budget":
            await self._take_budgets(_frame(data))
        elif event == "heartbeat" and self._has_flags:
            beat = _heartbeat(data)
            as_of = beat.as_of.get("flags")
            if as_of is not None:
                self._knowledge.seen(parse_instant(beat.now) - parse_instant(as_of))

    async def _take_flags(self, frame: _Frame) -> None:
        items = [bytes(item) for item in frame.items]
        if frame.more or frame.snapshot:
            if frame.more:
                items = [item async for item in self._api.items("/flags")]
            self._knowledge.keep_only(dict(filter(None, map(_held, items))))
            self._has_flags = True
            return
        for item in items:
            found = _flag(item)
            if found.state == "ok":
                self._knowledge.take_flag(found.scope, None)
            else:
                self._knowledge.take_flag(found.scope, item)

    async def _take_budgets(self, frame: _Frame) -> None:
        items = [bytes(item) for item in frame.items]
        if frame.snapshot:
            self._knowledge.forget_budgets()
        if frame.more:
            items = [item async for item in self._api.items("/budgets")]
        for item in items:
            budget = _budget(item)
            self._knowledge.take_control(f"budget/{budget.id}", None if budget.gone else item)


def _held(item: bytes) -> tuple[str, HeldFlag] | None:
    try:
        held = read_record(HeldFlag.read, item)
    except UnreadableError as error:
        log.warning("ignored a flag of the console that is none: %s", error)
        return None
    return held.scope, held
