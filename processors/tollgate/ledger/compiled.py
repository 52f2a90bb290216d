"""The compiled core as a `Tally`: it counts ordinary events itself, and also stores what Python counted."""

from collections.abc import Iterator, Sequence
from itertools import chain

import msgspec
from aiokafka import ConsumerRecord

from tollgate.domain.pricing.integer_price import SOURCES_MAX, IntegerPrice
from tollgate.domain.windows import Horizon
from tollgate.ledger._native import Identities
from tollgate.ledger._native import Tally as NativeTally
from tollgate.ledger.core import HandedOver
from tollgate.ledger.fetched import FetchedBatch
from tollgate.ledger.packed import PackablePriced
from tollgate.ledger.policy import ANY_AGE_MS
from tollgate.ledger.sums import BatchSums, Combinations, NamedSum, Names, Time
from tollgate.ledger.tally import ROWS_PER_RECORD, named_sums
from tollgate.schemas.conventions import INCLUSIVE
from tollgate.schemas.usage_codec import EventData
from tollgate.schemas.vocabulary import GLOBAL_SCOPE, SLOT_MS, Dimension, EntryType

# Above how many input tokens, denominator, and the terms: key, multiplier, side, bit, the bits it must not meet, origin
# (see `domain.pricing.integer_price.Band`). What does not fit into 128 bits raises OverflowError.
Band = tuple[int, int, list[tuple[str, int, int, int, int, int]]]

_encode = msgspec.json.Encoder().encode


class CompiledTally:
    """See `Tally`. Its `identities` are shared with the caller, which looks up the records that it counts itself."""

    def __init__(self, partition: int, partitions: int, future_ms_max: int, horizon_ms: int) -> None:
        self.identities = Identities(horizon_ms)
        dimensions = [dimension.value for dimension in Dimension]
        self._core = NativeTally(
            partition, partitions, future_ms_max, self.identities, EntryType.USAGE, dimensions, GLOBAL_SCOPE, SLOT_MS
        )
        # Sums that are too large or too many for the core.
        self._large = BatchSums()
        self._combinations = Combinations()

    def __len__(self) -> int:
        return len(self._core)

    @staticmethod
    def batch(records: Sequence[ConsumerRecord]) -> FetchedBatch:
        """The records of one partition in the form that `count` takes."""
        return FetchedBatch.of(records)

    def count(
        self, records: FetchedBatch, first: int, horizon: Horizon, age_ms_max: int = ANY_AGE_MS
    ) -> tuple[int, HandedOver | None]:
        """Count records from `first` on until one is not ordinary.

        Returns its position and why it is not ordinary; the number of records and None when all were counted. That
        record has changed nothing. The horizon's clock has moved with the records that were counted.
        """
        at, why, clock_ms = self._core.count(records.core, first, horizon, age_ms_max)
        horizon.advance(clock_ms)
        return at, None if why is None else HandedOver(why)

    def take_counts(self) -> tuple[int, int]:
        """Repeated and late events that were met since this was last called."""
        return self._core.take_counts()

    def teach(self, data: EventData, price: IntegerPrice) -> None:
        """Let the core price events like this one by this price, which is its own."""
        ids = [price.id_of(origins) for origins in range(1 << min(len(price.sources), SOURCES_MAX))]
        if any(_encode(price_id) != f'"{price_id}"'.encode() for price_id in ids):
            # It writes price ids as they are.
            return
        convention = "" if price.convention == INCLUSIVE else price.convention
        names = (data.provider, data.model, data.agent, convention)
        interval = (price.from_ms, price.to_ms)
        options = list(data.options.items())
        try:
            self._core.teach(names, options, interval, ids, price.status, _bands(price))
        except OverflowError:
            self._core.teach(names, options, interval, ids, price.status, None)

    def forget_prices(self) -> None:
        """Have every price taught again."""
        self._core.forget_prices()

    def set_combinations(self, combinations: Combinations) -> None:
        assert not len(self._large), "sums by other shapes wait to be taken"
        shapes = [[dimension.value for dimension in shape.dimensions] for shape in combinations.shapes]
        self._core.set_combinations(list(zip(shapes, combinations.stars, strict=True)), list(combinations.scopes))
        self._combinations = combinations

    def add(self, names: Names, time: Time, cost: int, retail: int, usage: list[tuple[str, int]]) -> None:
        names = self._combinations.added(names)
        if not self._core.add(names, time, cost, retail, usage):
            self._large.add(names, time, cost, retail, usage)

    def add_priced(self, key: bytes, value: bytes) -> None:
        self._core.add_priced(key, value)

    def add_identity(self, digest: bytes, fingerprint: int, seen_s: int) -> None:
        self._core.add_identity(digest, fingerprint, seen_s)

    def take_priced(self) -> "PackablePriced":
        return PackablePriced(self._core.take_priced())

    def take_identities(self) -> list[bytes]:
        return self._core.take_identities(ROWS_PER_RECORD)

    def take_sums(self) -> Iterator[NamedSum]:
        large, self._large = self._large, BatchSums()
        return chain(named_sums(self._core.take_sums()), large.by_name())


def _bands(price: IntegerPrice) -> list[Band] | None:
    """The price's multipliers, highest tier first; None when they alone do not make the cost."""
    if price.once or len(price.sources) > SOURCES_MAX:
        return None
    return [
        (above, band.denominator, [(key, *term, price.origins.get(key, 0)) for key, term in band.terms.items()])
        for above, band in (*price.tiers, (0, price.base))
    ]
