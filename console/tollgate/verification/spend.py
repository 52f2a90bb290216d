"""The spend topic against the recount, window by window, in both directions."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from tollgate.verification.calendar import KINDS, end_of, start_of, text
from tollgate.verification.report import Check
from tollgate.verification.sums import AMOUNT_DECIMALS, USD_DECIMALS, Sum, scaled

_decode = msgspec.json.Decoder().decode


@dataclass(slots=True)
class Recounted:
    """What every window must say: the recount at the cut, and at the end of the log when the outputs were read.

    A window may be in `high` alone. `open_ended` means that the log's beginning is gone, so that sums may be higher.
    """

    low: dict[str, Sum]
    high: dict[str, Sum]
    open_ended: bool = False

    def admits(self, key: str, found: Sum) -> bool:
        """Whether the sum may be the truth; for a window that has not moved, whether it is the truth."""
        low, high = self.low.get(key), self.high.get(key)
        if self.open_ended:
            return low is None or low <= found
        if low == high:
            return found == low
        return high is not None and (low is None or low <= found) and found <= high

    def moved(self, key: str) -> bool:
        """Whether events arrived in the window after the cut."""
        return self.low.get(key) != self.high.get(key)


@dataclass(slots=True)
class Spent:
    """A decoded spend record: what it says of its window besides the sum is checked when it is read."""

    sum: Sum
    faults: list[str] = field(default_factory=list)


def read_spend(value: bytes) -> Spent:
    """Decode a record of the spend topic. ValueError, KeyError or TypeError when it is none."""
    record: dict[str, Any] = _decode(value)
    usage = {dimension: scaled(amount, AMOUNT_DECIMALS) for dimension, amount in record["usage"].items()}
    cost, retail = scaled(record["spent_usd"], USD_DECIMALS), scaled(record["retail_usd"], USD_DECIMALS)
    spent = Spent(Sum(cost, retail, record["events"], usage))
    spent.faults = [f"{record['scope']}|{record['window']['kind']}|{record['window']['start']}", *_ends(record)]
    return spent


def _ends(record: dict[str, Any]) -> list[str]:
    """The window's end and time zone when they are not those of its kind and start."""
    window = record["window"]
    if window["kind"] not in KINDS:
        return [f"kind {window['kind']}"]
    start = datetime.fromisoformat(window["start"])
    right = (start_of(window["kind"], start), text(end_of(window["kind"], start)), "UTC")
    return [] if right == (start, window["end"], window["timezone"]) else [f"window {window}"]


def compare_spend(recounted: Recounted, found: dict[str, Spent], unreadable: list[str]) -> Check:
    """Every window of the recount has its record and every record its window, with equal numbers."""
    check = Check("spend windows")
    for problem in unreadable:
        check.differs("spend record", "a readable one", problem)
    for key, spent in found.items():
        if spent.faults != [key]:
            check.differs(f"spend record {key}", "its own scope and window", ", ".join(spent.faults))
        if not recounted.admits(key, spent.sum):
            check.differs(f"spend {key}", _expected(recounted, key), spent.sum)
    for key, low in recounted.low.items():
        if key not in found:
            check.differs(f"spend {key}", low, "no record")
    shared = found.keys() & recounted.low.keys()
    moved = sum(recounted.moved(key) for key in found)
    if moved:
        check.note = f"{moved} windows moved on meanwhile and lie between two recounts"
    return check.shows(f"{len(recounted.low)} windows", f"{len(shared)} windows")


def _expected(recounted: Recounted, key: str) -> str:
    low, high = recounted.low.get(key), recounted.high.get(key)
    if recounted.moved(key):
        return f"between {low or 'nothing'} and {high or 'nothing'}"
    return str(low) if low is not None else "no record"
