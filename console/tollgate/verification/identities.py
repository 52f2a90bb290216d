"""Which records repeat an identity: recomputed from rows on disk, a bucket of identities at a time.

While a partition is read, each valid event adds a row of 46 bytes to the bucket of its identity. The row also says
whether the worker counted the event. At the partition's end each bucket is sorted by identity and offset, and the
contract's rule is applied: the first event of an identity counts, for 35 days.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from tollgate.schemas.usage_codec import EventRecord
from tollgate.verification.spill import using

DEDUPE_SECONDS: Final = 35 * 24 * 3600

_pack: Final = struct.Struct("<16sQQQIBB").pack
_DTYPE: Final = np.dtype(
    [("high", "<u8"), ("low", "<u8"), ("said", "<u8"), ("sent", "<u8"), ("offset", "<u8"), ("seen_s", "<u4"),
     ("claim", "u1"), ("held", "u1")]
)  # fmt: skip
# A bucket of this many rows takes 60 MB while it is sorted.
_BUCKET_ROWS: Final = 500_000
_PENDING_ROWS: Final = 50_000

# Not the ledger's digests: a mistake in those must not be made twice. Keys are sorted, fields in the order they have.
_canonical: Final = msgspec.json.Encoder(order="deterministic").encode


class Claim(IntEnum):
    """How the worker treated a valid event: it has a priced record (counted), it has none, or this cannot be told
    because the priced topic begins later.
    """

    NOT_COUNTED = 0
    COUNTED = 1
    UNKNOWN = 2


class Rule(IntEnum):
    """How the worker should have treated it."""

    COUNTED = 0
    DUPLICATE = 1
    CONFLICT = 2
    # Either: it may repeat an event that is past the retention of the usage topic.
    OPEN = 3
    # A duplicate that says the same in other words: the first releases took it for a conflict.
    RESTATED = 4


class Said(NamedTuple):
    """What an event says, as 64 bits each: its values, and its values as they were sent."""

    values: int
    sent: int


@dataclass(frozen=True, slots=True)
class Ruling:
    """The rule for one event, where the claim differs from it or a dead letter is due. `held`: see `Candidate`."""

    offset: int
    claim: Claim
    rule: Rule
    held: int


def identity_of(event: EventRecord) -> bytes:
    """16 bytes that stand for source and id."""
    return blake2b(_canonical((event.source, event.id)), digest_size=16).digest()


def said_by(event: EventRecord) -> Said:
    """Everything the event says but its time. The same may be said in other words: with a usage of 0, or 1.0 for 1."""
    data = event.data
    sent = _hash((event.subject, data))
    if not data.metadata and all(data.usage.values()):
        return Said(sent, sent)
    usage = {name: units for name, units in data.usage.items() if units}
    metadata = {name: _value(given) for name, given in data.metadata.items() if given is not None}
    return Said(_hash((event.subject, replace(data, usage=usage, metadata=metadata))), sent)


def _value(given: Any) -> Any:
    return int(given) if isinstance(given, float) and given.is_integer() else given


def _hash(content: object) -> int:
    return int.from_bytes(blake2b(_canonical(content), digest_size=8).digest(), "little")


class Identities:
    """The identities of one partition. `records_max` is how many there may be; `open_until_s` until when (broker time)
    an event may repeat one that the topic no longer has, 0 when it still has all. `each` gets 64 bits of every identity
    with the offset where it was first seen.
    """

    def __init__(
        self,
        directory: Path,
        records_max: int,
        open_until_s: int = 0,
        each: Callable[[npt.NDArray[np.uint64], npt.NDArray[np.uint64]], None] | None = None,
    ) -> None:
        self._buckets = max(1, -(-records_max // _BUCKET_ROWS))
        self._directory = directory
        directory.mkdir()
        self._open_until_s = open_until_s
        self._each = each
        self._pending: list[bytes] = []
        self.counts = dict.fromkeys(Rule, 0)

    def add(self, identity: bytes, said: Said, offset: int, seen_s: int, claim: int, held: int) -> None:
        """A valid event at home, in offset order. `seen_s`: the broker's second at which it arrived."""
        self._pending.append(_pack(identity, *said, offset, seen_s, claim, held))
        if len(self._pending) >= _PENDING_ROWS:
            self._flush()

    def rulings(self) -> Iterator[Ruling]:
        """Every event whose claim is not the rule, and every conflict. All were added; may be called once."""
        self._flush()
        for bucket in range(self._buckets):
            path = self._directory / f"{bucket}"
            if path.exists():
                rows = np.fromfile(path, _DTYPE)
                path.unlink()
                yield from self._judge(rows)

    def _flush(self) -> None:
        if not self._pending:
            return
        rows = np.frombuffer(b"".join(self._pending), _DTYPE)
        self._pending.clear()
        buckets = rows["low"] % np.uint64(self._buckets)
        order = np.argsort(buckets, kind="stable")
        rows, buckets = rows[order], buckets[order]
        numbers, starts = np.unique(buckets, return_index=True)
        with using(self._directory):
            for number, part in zip(numbers.tolist(), np.split(rows, starts[1:]), strict=True):
                with (self._directory / f"{number}").open("ab") as file:
                    file.write(part.tobytes())

    def _judge(self, rows: npt.NDArray[np.void]) -> Iterator[Ruling]:
        # Rows are in offset order, and the sort is stable.
        rows = rows[np.argsort(rows["low"], kind="stable")]
        rows = rows[np.argsort(rows["high"], kind="stable")]
        first = np.ones(len(rows), np.bool_)
        first[1:] = (rows["high"][1:] != rows["high"][:-1]) | (rows["low"][1:] != rows["low"][:-1])
        starts = np.flatnonzero(first)
        if self._each is not None:
            self._each(rows["high"][starts], rows["offset"][starts])
        sizes = np.diff(np.append(starts, len(rows)))
        single = starts[sizes == 1]
        is_open = rows["seen_s"][single] <= self._open_until_s
        self.counts[Rule.COUNTED] += len(single)
        claims = rows["claim"][single]
        for row in rows[single[(claims == Claim.NOT_COUNTED) & ~is_open]]:
            yield Ruling(int(row["offset"]), Claim.NOT_COUNTED, Rule.COUNTED, int(row["held"]))
        for row in rows[single[(claims == Claim.NOT_COUNTED) & is_open]]:
            yield self._opened(row)
        for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
            yield from self._judge_group(rows[start : start + size])

    def _opened(self, row: np.void) -> Ruling:
        self.counts[Rule.COUNTED] -= 1
        self.counts[Rule.OPEN] += 1
        return Ruling(int(row["offset"]), Claim.NOT_COUNTED, Rule.OPEN, int(row["held"]))

    def _judge_group(self, group: npt.NDArray[np.void]) -> Iterator[Ruling]:
        before: tuple[Said, int] | None = None
        is_open = False
        for _, _, values, sent, offset, seen_s, claimed, held in group.tolist():
            said = Said(values, sent)
            claim = Claim(claimed)
            known = before is not None and seen_s - before[1] <= DEDUPE_SECONDS
            if known and not is_open:
                assert before is not None
                rule = _repeated(before[0], said)
            elif claim is Claim.NOT_COUNTED and (known or seen_s <= self._open_until_s):
                rule = Rule.OPEN
                if not known:
                    before, is_open = (said, seen_s), True
            else:
                rule = Rule.COUNTED
                before, is_open = (said, seen_s), False
            self.counts[rule] += 1
            agreed = (claim is not Claim.NOT_COUNTED) == (rule is Rule.COUNTED)
            if rule in (Rule.CONFLICT, Rule.OPEN, Rule.RESTATED) or (not agreed):
                yield Ruling(offset, claim, rule, held)


def _repeated(first: Said, again: Said) -> Rule:
    if first == again:
        return Rule.DUPLICATE
    return Rule.RESTATED if first.values == again.values else Rule.CONFLICT
