"""Ids for events without one: made from the row's content and how often the same content came before it.

The same file gives the same ids on every run, so publishing it again counts nothing twice; two equal rows of one file
stay two events.
"""

from array import array
from hashlib import blake2b


class ContentIds:
    """Makes ids; remembers what it has seen in 16 to 32 bytes a row, whatever the rows hold."""

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * 1024))
        self._mask = len(self._table) - 1
        self._used = 0
        # How often a content was seen, for those that were seen more than once.
        self._repeated: dict[int, int] = {}

    def next_id(self, content: bytes) -> str:
        """The id of the next row with this content: `<32 hex digits>-<occurrence>`, the first is `…-1`."""
        digest = blake2b(content, digest_size=16).digest()
        return f"{digest.hex()}-{self._occurrence(int.from_bytes(digest[:8]) or 1)}"

    def _occurrence(self, mark: int) -> int:
        table, mask = self._table, self._mask
        place = mark & mask
        while found := table[place]:
            if found == mark:
                times = self._repeated.get(mark, 1) + 1
                self._repeated[mark] = times
                return times
            place = (place + 1) & mask
        table[place] = mark
        self._used += 1
        # Half of the places stay free, which keeps the searches short.
        if self._used * 2 > len(table):
            self._grow()
        return 1

    def _grow(self) -> None:
        before = self._table
        self._table = table = array("Q", bytes(8 * 2 * len(before)))
        self._mask = mask = len(table) - 1
        for mark in before:
            if not mark:
                continue
            place = mark & mask
            while table[place]:
                place = (place + 1) & mask
            table[place] = mark
