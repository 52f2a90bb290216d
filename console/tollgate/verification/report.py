"""The result of a verification: its checks, and the first difference with the events behind it."""

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Final

from tollgate.schemas.usage_codec import EventRecord
from tollgate.verification.several_users import SeveralUsers

# Enough to find the cause; a worker that was wrong for a day is wrong about millions.
_EVENTS_SHOWN: Final = 5


@dataclass(slots=True)
class EventFault:
    """An event whose priced record is missing, extra or different. `place` is `partition:offset` in the usage topic,
    `cost_usd` what it costs by today's prices, or what an extra record says.
    """

    KEPT_MAX: ClassVar[int] = 1_000

    id: str
    place: str
    expected: str
    found: str
    cost_usd: str
    event: EventRecord | None = None

    def as_json(self) -> dict[str, str]:
        """For machines."""
        names = ("id", "place", "expected", "found", "cost_usd")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        return f"event {self.id} at {self.place}, {self.cost_usd} USD: expected {self.expected}, found {self.found}"


class Check:
    """One comparison. `difference` is the first thing that differs, with both values; `differences` counts them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.expected = ""
        self.found = ""
        self.difference = ""
        self.differences = 0
        self.note = ""

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def differs(self, what: str, expected: object, found: object) -> None:
        """Note a difference; the first one is kept in words."""
        self.differences += 1
        if not self.difference:
            self.difference = f"{what}: expected {expected}, found {found}"

    def join(self, other: "Check") -> None:
        """Have what another part of the same comparison has found, after what was found here."""
        self.differences += other.differences
        self.difference = self.difference or other.difference

    def shows(self, expected: object, found: object) -> "Check":
        """Set what the table shows; a difference between the two counts as one if none was noted."""
        self.expected, self.found = str(expected), str(found)
        if self.ok and self.expected != self.found:
            self.differs(self.name, expected, found)
        return self

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        names = ("name", "ok", "expected", "found", "difference", "differences", "note")
        return {name: getattr(self, name) for name in names}


@dataclass(slots=True)
class FirstDifference:
    """The first scope and window with different numbers, and the events behind it.

    `said_by` is what says so: state, spend or ClickHouse. `why` puts the events into a sentence: they are those that
    differ themselves, or a few of the window when none does.
    """

    scope: str
    window: str
    start: str
    said_by: str
    expected: str
    found: str
    why: str = ""
    events: list[dict[str, str]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people."""
        first = f"first difference: {self.scope} in the {self.window} from {self.start}, as {self.said_by} has it"
        lines = [first, f"  expected {self.expected}", f"  found    {self.found}", f"  {self.why}"]
        for event in self.events:
            differs = f": expected {event['expected']}, found {event['found']}" if "expected" in event else ""
            lines.append(f"  event {event['id']} at {event['place']}, {event['cost_usd']} USD{differs}")
        return lines


@dataclass(slots=True)
class Report:
    """All checks in the order they were made, and the totals that were recomputed.

    `cut` is the usage offset per partition up to which everything was compared, `begins` where each partition begins.
    """

    checks: list[Check] = field(default_factory=list)
    events: int = 0
    cost_usd: str = "0"
    begins: dict[int, int] = field(default_factory=dict)
    cut: dict[int, int] = field(default_factory=dict)
    first: FirstDifference | None = None
    faults: list[EventFault] = field(default_factory=list)
    several_users: SeveralUsers = field(default_factory=SeveralUsers)

    @property
    def ok(self) -> bool:
        """Whether every check found everything equal."""
        return all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """For machines: `{"ok", "events", "cost_usd", "checks": [{"name", "ok", "expected", "found", …}], …}`."""
        return {
            "ok": self.ok,
            "events": self.events,
            "cost_usd": self.cost_usd,
            "checks": [check.as_json() for check in self.checks],
            "cut": {str(partition): offset for partition, offset in sorted(self.cut.items())},
            "begins": {str(partition): offset for partition, offset in sorted(self.begins.items())},
            "first_difference": asdict(self.first) if self.first else None,
            "events_that_differ": [fault.as_json() for fault in self.faults[:_EVENTS_SHOWN]],
            "identities_of_several_users": self.several_users.as_json(),
        }

    def lines(self) -> list[str]:
        """What differs, for people: the first scope and window, or else the first events."""
        if self.first is not None:
            return self.first.lines()
        return [f"  {fault}" for fault in self.faults[:_EVENTS_SHOWN]]
