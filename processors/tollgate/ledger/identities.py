"""Which usage events were counted already: remembers their identities within the dedupe horizon.

An entry takes 28 bytes: a 16-byte digest of source and id, a 64-bit fingerprint of the event's content (it tells a
retry from a conflict), and the broker's second at which the event was first seen.

This is the reference; `native/src/identities.rs` is the compiled counterpart. Here new identities are in a dict; every
131,072 of them are frozen into sorted arrays, which are searched for a whole batch at once.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tollgate.schemas.topics import DEDUPE_HORIZON_MS

Seen = tuple[int, int]
_FREEZE_AT: Final = 1 << 17
# Larger runs are not merged further: merging a million identities pauses the worker for about 0.1 s.
_RUN_MAX: Final = 1 << 20
_ROW_BYTES: Final = struct.calcsize("<16sQI")
_DTYPE: Final = np.dtype([("high", "<u8"), ("low", "<u8"), ("fingerprint", "<u8"), ("seen_s", "<u4")])


class IdentityMemory(Protocol):
    """What both implementations offer. They forget only entries past the horizon at the last `compact` or `restore`."""

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int:
        """Bytes that the identities take, about."""

    def get(self, digest: bytes) -> Seen | None:
        """What is known of one identity, be it past the horizon or not."""

    def known(self, digests: list[bytes]) -> dict[bytes, Seen]:
        """Those of the digests that are known, with what is known of them."""

    def add(self, digest: bytes, fingerprint: int, seen_s: int) -> None:
        """Remember an identity; one that was known is from now on seen then."""

    def is_remembered(self, seen: Seen, now_s: int) -> bool:
        """Whether an identity first seen then still counts as seen: up to and including the horizon."""

    def compact(self, now_s: int) -> None:
        """Do a part of the work that keeps the memory small. Called after every batch."""

    def restore(self, rows: bytes, now_s: int) -> None:
        """Take back what `pack` wrote, in its order. ValueError when these are not whole rows."""


class _Run(NamedTuple):
    """Identities in the order of their first half. An array per column: a search reads one, and copies nothing."""

    high: npt.NDArray[np.uint64]
    low: npt.NDArray[np.uint64]
    fingerprint: npt.NDArray[np.uint64]
    seen_s: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, columns: Iterable[npt.NDArray[np.unsignedinteger]]) -> "_Run":
        """From unsorted columns."""
        high, *others = columns
        order = np.argsort(high, kind="stable")
        return cls(high[order], *(column[order] for column in others))

    def with_all(self, other: "_Run") -> "_Run":
        """Both runs as one."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in self._fields)
        return self.of(np.concatenate(pair) for pair in pairs)

    @classmethod
    def of_rows(cls, rows: bytes) -> "_Run":
        """From packed rows."""
        table = np.frombuffer(rows, _DTYPE)
        return cls.of(table[name] for name in cls._fields)


class IdentityIndex:
    """Identities counted by one partition. `horizon_ms` is how long one is remembered after it was first seen."""

    def __init__(self, horizon_ms: int = DEDUPE_HORIZON_MS) -> None:
        self._horizon_s = horizon_ms // 1000
        self.recent: dict[bytes, Seen] = {}
        self._runs: list[_Run] = []
        self._restored: list[bytes] = []
        self._restored_rows = 0

    def __len__(self) -> int:
        return len(self.recent) + self._restored_rows + sum(len(run.high) for run in self._runs)

    @property
    def nbytes(self) -> int:
        """Bytes that the identities take; a recent one takes about 250 as Python's objects."""
        frozen = self._restored_rows + sum(len(run.high) for run in self._runs)
        return 250 * len(self.recent) + _ROW_BYTES * frozen

    def add(self, digest: bytes, fingerprint: int, seen_s: int) -> None:
        """Remember an identity; one that was known is from now on seen then."""
        self.recent[digest] = (fingerprint, seen_s)

    def get(self, digest: bytes) -> Seen | None:
        """What is known of one identity. Slow: `known` takes about as long for hundreds."""
        return self.known([digest]).get(digest)

    def known(self, digests: list[bytes]) -> dict[bytes, Seen]:
        """Those of the digests that are known, with what is known of them."""
        found = self.frozen(digests)
        found.update((digest, self.recent[digest]) for digest in digests if digest in self.recent)
        return found

    def frozen(self, digests: Sequence[bytes]) -> dict[bytes, Seen]:
        """Those of the digests that are known but not recent, with what is known of them."""
        found: dict[bytes, Seen] = {}
        self._freeze_restored()
        if not self._runs or not digests:
            return found
        wanted = np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)
        firsts = np.ascontiguousarray(wanted[:, 0])
        for run in self._runs:
            at = np.searchsorted(run.high, firsts)
            inside = np.flatnonzero(at < len(run.high))
            for i in inside[run.high[at[inside]] == firsts[inside]]:
                # Equal first halves are next to each other; the second half decides.
                row = int(at[i])
                while row < len(run.high) and run.high[row] == firsts[i]:
                    if run.low[row] == wanted[i, 1]:
                        seen = (int(run.fingerprint[row]), int(run.seen_s[row]))
                        # An identity counted again after the horizon may be there twice; the later entry is valid.
                        if digests[i] not in found or found[digests[i]][1] < seen[1]:
                            found[digests[i]] = seen
                    row += 1
        return found

    def is_remembered(self, seen: Seen, now_s: int) -> bool:
        """Whether an identity first seen then still counts as seen: up to and including 35 days later."""
        return now_s - seen[1] <= self._horizon_s

    def compact(self, now_s: int) -> None:
        """Freeze the dict when it is large, merge runs of similar size, drop runs that are past the horizon."""
        if len(self.recent) >= _FREEZE_AT:
            self._freeze_restored()
            self._runs = [run for run in self._runs if now_s - int(run.seen_s.max()) <= self._horizon_s]
            self._freeze(pack(self.recent.items()))
            self.recent = {}

    def _freeze(self, rows: bytes) -> None:
        self._runs.append(_Run.of_rows(rows))
        while (
            len(self._runs) > 1
            and len(self._runs[-2].high) <= 2 * len(self._runs[-1].high)
            and len(self._runs[-2].high) + len(self._runs[-1].high) <= _RUN_MAX
        ):
            last = self._runs.pop()
            self._runs[-1] = last.with_all(self._runs[-1])

    def restore(self, rows: bytes, now_s: int) -> None:
        """Take back what `pack` wrote, as the identities topic is read at acquisition."""
        if len(rows) % _ROW_BYTES:
            raise ValueError(f"{len(rows)} bytes are not whole rows of {_ROW_BYTES}")
        # Records are in the order of their time: one whose last identity is past the horizon is whole.
        if rows and now_s - int.from_bytes(rows[-4:], "little") <= self._horizon_s:
            self._restored.append(rows)
            self._restored_rows += len(rows) // _ROW_BYTES
            if self._restored_rows >= _FREEZE_AT:
                self._freeze_restored()

    def _freeze_restored(self) -> None:
        if self._restored:
            rows = b"".join(self._restored)
            self._restored, self._restored_rows = [], 0
            self._freeze(rows)


def pack(items: Iterable[tuple[bytes, Seen]]) -> bytes:
    """Identities as bytes for the identities topic: 28 bytes each."""
    digests, seen = zip(*items, strict=True)
    fingerprints, seconds = zip(*seen, strict=True)
    halves = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)
    rows = np.empty(len(digests), _DTYPE)
    rows["high"], rows["low"] = halves[:, 0], halves[:, 1]
    rows["fingerprint"] = np.array(fingerprints, "<u8")
    rows["seen_s"] = np.array(seconds, "<u4")
    return rows.tobytes()
