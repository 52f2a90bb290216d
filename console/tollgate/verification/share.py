"""The recount's result for some partitions. Results of other partitions, from any process, can be joined to it."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self

from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic
from tollgate.verification.entry_log import EntryLog
from tollgate.verification.letters import ForwardsCheck, LettersCheck
from tollgate.verification.log import Offsets
from tollgate.verification.meter_sums import MeterSums
from tollgate.verification.priced import PricedCheck
from tollgate.verification.prices import Prices
from tollgate.verification.report import Check
from tollgate.verification.several_users import Marks
from tollgate.verification.snapshot import Cut
from tollgate.verification.spill import Spill
from tollgate.verification.totals import Totals

# Of letters and forwards, which are few.
_BUCKETS = 64


@dataclass(slots=True)
class Outcomes:
    """Numbers of records by outcome."""

    counted: int = 0
    duplicate: int = 0
    refused: int = 0
    forwarded: int = 0
    # Without a priced record, and perhaps repeats of events that are past the retention.
    open: int = 0
    # Before the first record that the priced topic still has.
    unpriced: int = 0
    # Valid reservations and releases, repeats included.
    asked: int = 0

    def __str__(self) -> str:
        said = [f"{self.counted} counted", f"{self.duplicate} duplicate", f"{self.refused} refused"]
        said.append(f"{self.forwarded} forwarded")
        if self.asked:
            said.append(f"{self.asked} reservations and releases")
        if self.open:
            said.append(f"{self.open} that may repeat events past the retention")
        return ", ".join(said)

    def join(self, other: "Outcomes") -> None:
        """Count the other's records too."""
        for counted in fields(self):
            setattr(self, counted.name, getattr(self, counted.name) + getattr(other, counted.name))


@dataclass(slots=True)
class Share:
    """`first_ms` is the broker's time of the first record, for partitions whose beginning is past its retention."""

    totals: Totals
    meters: MeterSums
    letters: LettersCheck
    forwards: ForwardsCheck
    priced: PricedCheck
    marks: Marks
    entries: EntryLog
    entry_letters: LettersCheck
    entry_forwards: ForwardsCheck
    priced_found: int = 0
    outcomes: Outcomes = field(default_factory=Outcomes)
    first_ms: Offsets = field(default_factory=dict)

    @classmethod
    def new(cls, directory: Path, buckets: int, settings: Settings, cut: Cut, prices: Prices) -> Self:
        """An empty share with its files in a new directory; sums are spread over this many buckets of scopes."""
        directory.mkdir()
        return cls(
            Totals(Spill(directory / "totals", buckets), len(cut.shared)),
            MeterSums(directory / "meters", buckets, cut.meters, cut.homes, len(cut.shared)),
            LettersCheck(Spill(directory / "letters", _BUCKETS), settings.topic(Topic.USAGE), cut.begins, cut.usage),
            ForwardsCheck(Spill(directory / "forwards", _BUCKETS)),
            PricedCheck(prices),
            Marks(directory / "marks"),
            EntryLog(directory / "entries", buckets),
            LettersCheck(
                Spill(directory / "entry-letters", _BUCKETS),
                settings.topic(Topic.ENTRIES),
                cut.entries_begin,
                cut.entries,
                "dead letters of entries",
            ),
            ForwardsCheck(Spill(directory / "entry-forwards", _BUCKETS), "forwarded entries"),
        )

    def flush(self) -> None:
        """Write everything to its files, so that the rest may be sent to another process."""
        self.totals.flush()
        self.meters.flush()
        self.letters.flush()
        self.forwards.flush()
        self.entries.flush()
        self.entry_letters.flush()
        self.entry_forwards.flush()

    def join(self, other: "Share") -> None:
        """Take in what other partitions came to; that share was flushed."""
        self.totals.join(other.totals)
        self.meters.join(other.meters)
        self.letters.join(other.letters)
        self.forwards.join(other.forwards)
        self.entries.join(other.entries)
        self.entry_letters.join(other.entry_letters)
        self.entry_forwards.join(other.entry_forwards)
        self.priced.join(other.priced)
        self.marks.join(other.marks)
        self.priced_found += other.priced_found
        self.outcomes.join(other.outcomes)
        self.first_ms |= other.first_ms

    def show_priced(self, begins: Offsets) -> Check:
        """The check of priced events with what there is to know about it."""
        check, outcomes = self.priced, self.outcomes
        total = outcomes.counted + outcomes.duplicate + outcomes.refused + outcomes.forwarded + outcomes.open
        total += outcomes.asked
        notes = [f"{total} usage records: {outcomes}"]
        if check.unknown_prices:
            unknown, first = sum(check.unknown_prices.values()), next(iter(check.unknown_prices))
            notes.append(f"{unknown} costs taken as recorded, their price is no longer known, for example {first}")
        if outcomes.unpriced:
            older = f"{outcomes.unpriced} events are older than the priced topic and were counted at today's prices"
            notes.append(older)
        if any(begins.values()):
            notes.append(
                "the beginning of the usage topic is past its retention: windows from before have lower bounds only"
            )
        check.note = "; ".join(notes)
        return check.shows(f"{outcomes.counted - outcomes.unpriced} events", f"{self.priced_found} events")
