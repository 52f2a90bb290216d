"""Which usage events were counted already: the memory of identities within the dedupe horizon.

An identity is a 16-byte digest of source and id; with it go a 64-bit fingerprint of what the event said, which tells a
retry from a conflict, and the broker's second at which it was first seen. New identities live in a dict; every
131,072 of them are frozen into sorted arrays of 28 bytes each, which are searched for a whole batch at once.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from tollgate.schemas.topics import DEDUPE_HORIZON_MS

Seen = tuple[int, int]
_FREEZE_AT: Final = 1 << 17
# Larger runs are not merged further: merging 2 million identities pauses the worker for about 0.2 s.
_RUN_MAX: Final = 1 << 21
_ROW: Final = struct.Struct("<16sQI")
_DTYPE: Final = np.dtype([("high", "<u8"), ("low", "<u8"), ("fingerprint", "<u8"), ("seen_s", "<u4")])


class IdentityIndex:
    """Identities counted by one partition. `horizon_ms` is how long one is remembered after it was first seen."""

    def __init__(self, horizon_ms: int = DEDUPE_HORIZON_MS) -> None:
        self._horizon_s = horizon_ms // 1000
        self.recent: dict[bytes, Seen] = {}
        self._runs: list[npt.NDArray[np.void]] = []

    def __len__(self) -> int:
        return len(self.recent) + sum(len(run) for run in self._runs)

    def add(self, digest: bytes, fingerprint: int, seen_s: int) -> None:
        """Remember an identity. Callers look first: one that is known is not added twice."""
        self.recent[digest] = (fingerprint, seen_s)

    def frozen(self, digests: Sequence[bytes]) -> dict[bytes, Seen]:
        """Those of the digests that the frozen runs hold, with what is known of them."""
        found: dict[bytes, Seen] = {}
        if not self._runs or not digests:
            return found
        wanted = np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)
        for run in self._runs:
            high = run["high"]
            at = np.searchsorted(high, wanted[:, 0])
            inside = np.flatnonzero(at < len(high))
            for i in inside[high[at[inside]] == wanted[inside, 0]]:
                # Equal first halves are next to each other; the second half decides.
                row = int(at[i])
                while row < len(high) and high[row] == wanted[i, 0]:
                    if run["low"][row] == wanted[i, 1]:
                        seen = (int(run["fingerprint"][row]), int(run["seen_s"][row]))
                        # An identity counted again after the horizon may be in two runs: the later sight counts.
                        if digests[i] not in found or found[digests[i]][1] < seen[1]:
                            found[digests[i]] = seen
                        break
                    row += 1
        return found

    def is_remembered(self, seen: Seen, now_s: int) -> bool:
        """Whether an identity first seen then still counts as seen: up to and including 35 days later."""
        return now_s - seen[1] <= self._horizon_s

    def compact(self, now_s: int) -> None:
        """Freeze what is recent when it is much, merge runs of like size, drop runs that are past the horizon."""
        if len(self.recent) < _FREEZE_AT:
            return
        self._runs = [run for run in self._runs if now_s - int(run["seen_s"].max()) <= self._horizon_s]
        self._runs.append(_sorted(_from_rows(pack(self.recent.items()))))
        self.recent = {}
        while (
            len(self._runs) > 1
            and len(self._runs[-2]) <= 2 * len(self._runs[-1])
            and (len(self._runs[-2]) + len(self._runs[-1]) <= _RUN_MAX)
        ):
            last = self._runs.pop()
            # The later run goes first: the sort is stable, and of two sights of an identity the later one counts.
            self._runs[-1] = _sorted(np.concatenate((last, self._runs[-1])))

    def restore(self, rows: bytes, now_s: int) -> None:
        """Take back what `pack` wrote, as the identities topic is read at acquisition."""
        for digest, fingerprint, seen_s in _ROW.iter_unpack(rows):
            self.recent[digest] = (fingerprint, seen_s)
        self.compact(now_s)


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


def _from_rows(rows: bytes) -> npt.NDArray[np.void]:
    return np.frombuffer(rows, dtype=_DTYPE)


def _sorted(run: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    return run[np.argsort(run["high"], kind="stable")]
