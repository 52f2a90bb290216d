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

    The age of the knowledge is what the console says in its heartbeats, by its own clock. A console that has just
    started may not have read its topics: until it says that it has, it adds to what is known, and ends nothing.
    """

    def __init__(self, api: HttpApi, knowledge: Knowledge) -> None:
        self._api = api
        self._knowledge = knowledge
        self._begin()

    def _begin(self) -> None:
        """With each stream, as another console may answer."""
        # All that this stream has told, until the console knows that it is all there is; None from then on.
        self._told_flags: dict[str, HeldFlag] | None = {}
        self._told_budgets: dict[str, bytes] | None = {}
        self._has_flags = self._has_budgets = False

    async def run(self) -> None:
        """As `Feed.run`."""
        told = False
        try:
            while True:
                self._begin()
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
        elif event == "heartbeat":
            self._take_heartbeat(_heartbeat(data))

    def _take_heartbeat(self, beat: _Heartbeat) -> None:
        as_of = beat.as_of.get("flags")
        if as_of is not None and self._has_flags:
            if self._told_flags is not None:
                self._knowledge.keep_only(self._told_flags)
                self._told_flags = None
            self._knowledge.seen(parse_instant(beat.now) - parse_instant(as_of))
        if beat.as_of.get("control") is not None and self._has_budgets and self._told_budgets is not None:
            self._knowledge.keep_only_budgets(self._told_budgets)
            self._told_budgets = None

    async def _take_flags(self, frame: _Frame) -> None:
        items = [bytes(item) for item in frame.items]
        is_all = frame.snapshot or frame.more > 0
        if frame.more:
            items = [item async for item in self._api.items("/flags")]
        if is_all:
            flags = dict(filter(None, map(_held, items)))
            self._has_flags = True
            if self._told_flags is None:
                self._knowledge.keep_only(flags)
                return
            self._told_flags = flags
            for scope, held in flags.items():
                self._knowledge.keep(scope, held)
            return
        for item in items:
            self._take_flag(item)

    def _take_flag(self, item: bytes) -> None:
        found, told = _flag(item), self._told_flags
        if found.state == "ok":
            if told is None:
                self._knowledge.take_flag(found.scope, None)
            else:
                told.pop(found.scope, None)
            return
        taken = _held(item)
        if taken is not None:
            self._knowledge.keep(*taken)
            if told is not None:
                told[taken[0]] = taken[1]

    async def _take_budgets(self, frame: _Frame) -> None:
        items = [bytes(item) for item in frame.items]
        is_all = frame.snapshot or frame.more > 0
        if frame.more:
            items = [item async for item in self._api.items("/budgets")]
        changed: dict[str, bytes | None] = {}
        for item in items:
            budget = _budget(item)
            changed[f"budget/{budget.id}"] = None if budget.gone else item
        if is_all:
            self._has_budgets = True
            budgets = {key: value for key, value in changed.items() if value is not None}
            if self._told_budgets is None:
                self._knowledge.keep_only_budgets(budgets)
                return
            self._told_budgets = {}
        for key, value in changed.items():
            self._take_budget(key, value)

    def _take_budget(self, key: str, value: bytes | None) -> None:
        told = self._told_budgets
        if told is None or value is not None:
            self._knowledge.take_control(key, value)
        if told is not None and value is not None:
            told[key] = value
        elif told is not None:
            told.pop(key, None)


def _held(item: bytes) -> tuple[str, HeldFlag] | None:
    try:
        held = read_record(HeldFlag.read, item)
    except UnreadableError as error:
        log.warning("ignored a flag of the console that is none: %s", error)
        return None
    return held.scope, held
