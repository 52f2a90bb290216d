"""What a verification found."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Check:
    """One comparison. `difference` is the first thing that differs, with both values; `differences` counts them."""

    name: str
    expected: str = ""
    found: str = ""
    difference: str = ""
    differences: int = 0
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def differs(self, what: str, expected: object, found: object) -> None:
        """Note a difference; the first one is kept in words."""
        self.differences += 1
        if not self.difference:
            self.difference = f"{what}: expected {expected}, found {found}"

    def shows(self, expected: object, found: object) -> "Check":
        """Set what the table shows; a difference between the two counts as one if none was noted."""
        self.expected, self.found = str(expected), str(found)
        if self.ok and self.expected != self.found:
            self.differs(self.name, expected, found)
        return self


@dataclass(slots=True)
class Report:
    """All checks in the order they were made, and the totals that were recomputed."""

    checks: list[Check] = field(default_factory=list)
    events: int = 0
    cost_usd: str = "0"

    @property
    def ok(self) -> bool:
        """Whether every check found everything equal."""
        return all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """For machines: `{"ok", "events", "cost_usd", "checks": [{"name", "ok", "expected", "found", …}]}`."""
        checks = [{"ok": check.ok} | asdict(check) for check in self.checks]
        return {"ok": self.ok, "events": self.events, "cost_usd": self.cost_usd, "checks": checks}
