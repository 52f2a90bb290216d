"""Everything one partition has counted and not yet written to Kafka, in the form in which it will be written."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from tollgate.domain.spend import Spend
from tollgate.ledger.identities import IdentityIndex, Seen, pack
from tollgate.ledger.outbox import NO_HEADERS, OutRecord
from tollgate.ledger.sums import BatchSums, Combinations, NamedSum, Names, Time

# Identities in one record: 280 kB, far below what a record may have.
ROWS_PER_RECORD = 10_000


class Tally(Protocol):
    """Collects counted events; `take_…` gives what came in since it was last called, in order."""

    def __len__(self) -> int:
        """How many priced records wait to be taken."""

    def set_combinations(self, combinations: Combinations) -> None:
        """From now on sum by these combinations too: see `take_sums`. No sums may wait to be taken."""

    def add(self, names: Names, time: Time, cost: int, retail: int, usage: list[tuple[str, int]]) -> None:
        """Add to the sums: the base names of an event, what it costs in picousd, and its usage in 10⁻⁹ units."""

    def add_priced(self, key: bytes, value: bytes) -> None:
        """Add the priced record of an event."""

    def add_identity(self, digest: bytes, fingerprint: int, seen_s: int) -> None:
        """Remember the identity of an event that is counted."""

    def take_priced(self) -> Sequence[OutRecord]:
        """The priced records."""

    def take_identities(self) -> list[bytes]:
        """The new identities as rows of the identities topic, packed into records."""

    def take_sums(self) -> Iterator[NamedSum]:
        """As `BatchSums.by_name`. The positions of combinations follow those of `BASE_SHAPES`, in the order of their
        shapes; the name of such a sum is its whole scope.
        """


class PythonTally:
    """The reference."""

    def __init__(self, identities: IdentityIndex) -> None:
        self._identities = identities
        self._priced: list[OutRecord] = []
        self._new_identities: list[tuple[bytes, Seen]] = []
        self._sums = BatchSums()
        self._combinations = Combinations()

    def __len__(self) -> int:
        return len(self._priced)

    def set_combinations(self, combinations: Combinations) -> None:
        assert not len(self._sums), "sums by other shapes wait to be taken"
        self._combinations = combinations

    def add(self, names: Names, time: Time, cost: int, retail: int, usage: list[tuple[str, int]]) -> None:
        self._sums.add(self._combinations.added(names), time, cost, retail, usage)

    def add_priced(self, key: bytes, value: bytes) -> None:
        self._priced.append((key, value, NO_HEADERS))

    def add_identity(self, digest: bytes, fingerprint: int, seen_s: int) -> None:
        self._identities.add(digest, fingerprint, seen_s)
        self._new_identities.append((digest, (fingerprint, seen_s)))

    def take_priced(self) -> list[OutRecord]:
        taken, self._priced = self._priced, []
        return taken

    def take_identities(self) -> list[bytes]:
        taken, self._new_identities = self._new_identities, []
        return [pack(taken[first : first + ROWS_PER_RECORD]) for first in range(0, len(taken), ROWS_PER_RECORD)]

    def take_sums(self) -> Iterator[NamedSum]:
        taken, self._sums = self._sums, BatchSums()
        return taken.by_name()


def named_sums(rows: Iterable[tuple[int, str, int, int, int, int, int, dict[str, int]]]) -> Iterator[NamedSum]:
    """Sums as the compiled core gives them: position, name, slot, since when, cost, retail, events, usage."""
    for position, name, slot_ms, since_ms, cost, retail, events, usage in rows:
        yield position, name, slot_ms, since_ms, Spend(cost, retail, events, usage)
