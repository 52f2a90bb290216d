"""The flags that warn or block, as the topic has them."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from tollgate.console.live.ignored import Ignored
from tollgate.schemas.outputs import Flag, FlagState
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic
from tollgate.sdk.decision import HeldFlag


class _Head(msgspec.Struct):
    """Enough to see that a flag need not be kept."""

    state: str


class _Kept(NamedTuple):
    value: bytes
    until_ms: int | None
    blocked: bool
    revision: int

    def in_force(self, now_ms: int) -> bool:
        return self.until_ms is None or now_ms < self.until_ms


_read_head: Final = msgspec.json.Decoder(_Head).decode


class HeldFlags:
    """By scope the flag that was last written, unless it is `ok`."""

    def __init__(self, ignored: Ignored) -> None:
        self._flags: dict[str, _Kept] = {}
        self._ignored = ignored

    def take(self, key: bytes, value: bytes | None) -> str | None:
        """Take in a record. The scope when something changed for it."""
        try:
            scope = key.decode()
            if value is None or read_record(_read_head, value).state == FlagState.OK:
                return scope if self._flags.pop(scope, None) is not None else None
            held = read_record(HeldFlag.read, value)
        except (UnreadableError, UnicodeDecodeError) as error:
            self._ignored.note(Topic.FLAGS, "the key is not UTF-8" if isinstance(error, UnicodeError) else str(error))
            return None
        if held.flag.scope != scope:
            self._ignored.note(Topic.FLAGS, "the key is not the scope")
            return None
        kept = self._flags.get(scope)
        if kept is not None and kept.revision > held.flag.revision:
            return None
        self._flags[scope] = _Kept(value, held.until_ms, held.flag.blocked, held.flag.revision)
        return scope

    def forget(self) -> None:
        """Forget everything."""
        self._flags.clear()

    def get(self, scope: str) -> HeldFlag | None:
        """The scope's flag; None when it is `ok` or there is none."""
        kept = self._flags.get(scope)
        return None if kept is None else HeldFlag.read(kept.value)

    def in_force(self, now_ms: int) -> Iterator[str]:
        """The scopes that are warned or blocked at this moment, in no order."""
        return (scope for scope, kept in self._flags.items() if kept.in_force(now_ms))

    def blocked(self, now_ms: int) -> int:
        """How many scopes are blocked or stopped at this moment."""
        return sum(kept.blocked and kept.in_force(now_ms) for kept in self._flags.values())

    def flag(self, scope: str) -> Flag | None:
        """As `get`, without its end."""
        held = self.get(scope)
        return None if held is None else held.flag
