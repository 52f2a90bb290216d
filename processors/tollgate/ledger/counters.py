"""What the ledger has done since the process started, as plain numbers; the worker exposes them as metrics."""

from dataclasses import dataclass, field

from tollgate.schemas.refusals import RefusalReason


@dataclass(slots=True)
class Counters:
    """Only ever rise. `applied` counts records of the usage topic, `applied_entries` those of the entries topic,
    `counted` those of usage that became priced events.

    `folded_dimensions`: how often a batch's usage of a dimension was added to a scope's `other`.
    `options_ignored` counts options of events that changed no price, when prices are looked up, not with every event.
    """

    applied: int = 0
    applied_entries: int = 0
    counted: int = 0
    duplicates: int = 0
    forwarded: int = 0
    late: int = 0
    folded_dimensions: int = 0
    options_ignored: int = 0
    refused: dict[RefusalReason, int] = field(default_factory=lambda: dict.fromkeys(RefusalReason, 0))
    transactions: int = 0
    transaction_seconds: float = 0
    records_written: int = 0

    def refuse(self, reason: RefusalReason) -> None:
        """One more dead letter for this reason."""
        self.refused[reason] += 1
