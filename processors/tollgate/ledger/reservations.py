"""The open reservations of one partition: what they hold in each scope, when they end, and their rows of state.

Also here is what usage took from reservations that are not read yet. Memory is bounded: see `OPEN_MAX`,
`HELD_MAX` and `EARLY_MAX`.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from tollgate.domain.reservations import EARLY_MS, NOTHING_RESERVED, Early, Open, Reserved, settle
from tollgate.ledger.outbox import NO_HEADERS, OutRecord

# Open reservations of a partition, of all users together: 1 to 2 kB each.
HELD_MAX: Final = 50_000
# Reservations that usage named and that are not read yet; the oldest is forgotten. An honest sender has a handful.
EARLY_MAX: Final = 10_000

Key = tuple[str, str, str]
"""User, source and id."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Open | Early).decode


class OpenReservations:
    """Reservations by key. `scopes_of` gives the scopes in which one counts: those that contain its user."""

    def __init__(self, scopes_of: Callable[[str, dict[str, str]], tuple[str, ...]]) -> None:
        self._scopes_of = scopes_of
        self._open: dict[Key, Open] = {}
        # In the order in which they were first named.
        self._early: dict[Key, Early] = {}
        self._open_of: dict[str, int] = {}
        self._reserved: dict[str, Reserved] = {}
        self._due: list[tuple[int, Key]] = []
        self._dirty: dict[Key, None] = {}
        # Scopes of which something else is reserved than before, and whether that is money; and users whose reserved
        # credits are other ones.
        self._touched: dict[str, bool] = {}
        self._credited: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def find(self, key: Key) -> Open | None:
        """The open reservation."""
        return self._open.get(key)

    def count_of(self, user: str) -> int:
        """How many the user has open."""
        return self._open_of.get(user, 0)

    def reserved(self, scope: str) -> Reserved:
        """What is held of a scope that contains a user; to be read only."""
        return self._reserved.get(scope, NOTHING_RESERVED)

    def reserved_scopes(self) -> Iterable[str]:
        """The scopes of which something is reserved."""
        return self._reserved

    def open(self, key: Key, held: Open) -> None:
        """Hold a reservation that was granted."""
        self._open[key] = held
        self._open_of[key[0]] = self.count_of(key[0]) + 1
        self._hold(key, held, 1)
        self._wake(held.expires_ms, key)
        self._dirty[key] = None

    def use(self, key: Key, picousd: int, nano: int, more: bool) -> bool:
        """Settle by what a call cost; it ends unless there will be more. False when it is not open."""
        held = self._open.get(key)
        if held is None:
            return False
        if not more:
            self.close(key)
            return True
        before = held.left_picousd, held.left_nano
        settle(held, picousd, nano)
        self._add(key, held, held.left_picousd - before[0], held.left_nano - before[1], 0)
        self._dirty[key] = None
        return True

    def use_early(self, key: Key, picousd: int, nano: int, more: bool, now_ms: int) -> None:
        """Remember usage of a reservation that is not read yet."""
        early = self._early.get(key)
        if early is None:
            if len(self._early) >= EARLY_MAX:
                self._forget(next(iter(self._early)))
            early = self._early[key] = Early(0, 0, False, now_ms + EARLY_MS)
            self._wake(early.expires_ms, key)
        settle(early, picousd, nano)
        early.closed = early.closed or not more
        self._dirty[key] = None

    def take_early(self, key: Key) -> Early | None:
        """What was remembered of a reservation that is read now."""
        early = self._early.get(key)
        if early is not None:
            self._forget(key)
        return early

    def _forget(self, key: Key) -> None:
        del self._early[key]
        self._dirty[key] = None

    def close(self, key: Key) -> bool:
        """End a reservation; what it held is free. False when it is not open."""
        held = self._open.pop(key, None)
        if held is None:
            return False
        user = key[0]
        left = self._open_of[user] - 1
        if left:
            self._open_of[user] = left
        else:
            del self._open_of[user]
        self._hold(key, held, -1)
        self._dirty[key] = None
        return True

    def expire(self, now_ms: int) -> None:
        """End what ends at this instant or before."""
        while self._due and self._due[0][0] <= now_ms:
            due_ms, key = heapq.heappop(self._due)
            if (held := self._open.get(key)) is not None and held.expires_ms == due_ms:
                self.close(key)
            if (early := self._early.get(key)) is not None and early.expires_ms == due_ms:
                self._forget(key)

    def _wake(self, due_ms: int, key: Key) -> None:
        heapq.heappush(self._due, (due_ms, key))
        if len(self._due) > 1_000 + 2 * (len(self._open) + len(self._early)):
            # Most of it has ended before its time.
            self._due = [(held.expires_ms, key) for key, held in self._open.items()]
            self._due += [(early.expires_ms, key) for key, early in self._early.items()]
            heapq.heapify(self._due)

    def _hold(self, key: Key, held: Open, count: int) -> None:
        self._add(key, held, count * held.left_picousd, count * held.left_nano, count)

    def _add(self, key: Key, held: Open, picousd: int, nano: int, count: int) -> None:
        for scope in self._scopes_of(key[0], held.names):
            reserved = self._reserved.get(scope)
            if reserved is None:
                reserved = self._reserved[scope] = Reserved()
            reserved.add(picousd, nano, count)
            if not reserved.count:
                del self._reserved[scope]
            self._touched[scope] = bool(picousd) or self._touched.get(scope, False)
        if nano:
            self._credited[key[0]] = None

    def take_touched(self) -> dict[str, bool]:
        """The scopes of which something else is reserved than when this was last called, and whether it is money."""
        touched, self._touched = self._touched, {}
        return touched

    def take_credited(self) -> dict[str, None]:
        """The users whose reserved credits are other ones than when this was last called."""
        credited, self._credited = self._credited, {}
        return credited

    def count_anew(self) -> None:
        """Add everything up again: other scopes are asked for than before."""
        self._touched.update(dict.fromkeys(self._reserved, True))
        self._reserved = {}
        for key, held in self._open.items():
            self._hold(key, held, 1)

    def has_pending(self) -> bool:
        """Whether there is something to write."""
        return bool(self._dirty or self._touched)

    def take_rows(self) -> Iterator[OutRecord]:
        """The rows that have changed; without a value where there is nothing to remember any more."""
        dirty, self._dirty = self._dirty, {}
        for key in dirty:
            held = self._open.get(key) or self._early.get(key)
            yield _row_key(key), None if held is None else _encode(held), NO_HEADERS

    def restore(self, rows: dict[str, bytes]) -> None:
        """Take back the rows of `take_rows`."""
        early: list[tuple[int, Key, Early]] = []
        for row_key, value in rows.items():
            if row_key.startswith("h|"):
                held, key = _decode(value), _key_of(row_key)
                if isinstance(held, Open):
                    self.open(key, held)
                else:
                    early.append((held.expires_ms, key, held))
        for due_ms, key, remembered in sorted(early, key=lambda one: one[0]):
            self._early[key] = remembered
            self._wake(due_ms, key)
        self._dirty, self._touched, self._credited = {}, {}, {}


def _row_key(key: Key) -> bytes:
    user, source, name = key
    return f"h|{_escaped(user)}|{_escaped(source)}|{name}".encode()


def _key_of(row_key: str) -> Key:
    user, source, name = row_key[2:].split("|", 2)
    return _plain(user), _plain(source), name


# Names may hold the bar that divides them.
def _escaped(name: str) -> str:
    return name.replace("%", "%25").replace("|", "%7C")


def _plain(name: str) -> str:
    return name.replace("%7C", "|").replace("%25", "%")
