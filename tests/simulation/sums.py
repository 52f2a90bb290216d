"""Sums in Decimal, what an event costs, and how a difference is told."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

SumKey = tuple[str, str, int]  # scope, calendar, start of the window in milliseconds

# openai/gpt-4o: 2.50 USD per million input tokens, 10 USD per million output tokens; in 10⁻¹² USD per token.
PICOUSD = {"input_tokens": 2_500_000, "output_tokens": 10_000_000}
# What a user pays for a credit: half a cent.
RETAIL_PICOUSD = 5_000_000_000
DIMENSIONS_MAX = 128
# Dimensions that are kept besides as many others.
COMMON = ("input_tokens", "output_tokens", "credits")


class Wrong(AssertionError):  # noqa: N818 # what it says
    """The ledger and the checker differ."""


def expect(truth: bool, what: str, *facts: object) -> None:
    """Raise Wrong with the facts."""
    if not truth:
        raise Wrong(f"{what}: {', '.join(map(str, facts))}")


def cost_of(data: dict[str, Any]) -> Decimal:
    """What an event costs, in 10⁻¹² USD."""
    if "cost_usd" in data:
        return Decimal(data["cost_usd"]) * 10**12
    return sum((Decimal(PICOUSD[d] * n) for d, n in data["usage"].items()), Decimal(0))


@dataclass
class Sum:
    """Cost and retail value in 10⁻¹² USD, events, tokens and credits by dimension."""

    cost: Decimal = Decimal(0)
    retail: int = 0
    events: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, cost: Decimal, retail: int, events: int, tokens: Mapping[str, int]) -> None:
        """Count more."""
        self.cost += cost
        self.retail += retail
        self.events += events
        for dimension, amount in tokens.items():
            self.tokens[dimension] += amount

    def measure(self, unit: str) -> int:
        """In the unit of a limit."""
        return int(self.cost) if unit == "usd" else self.events if unit == "events" else self.tokens.get(unit, 0)

    def is_row(self, row: list[Any], names: Iterable[str] | None) -> bool:
        """Whether a sum as the state topic has it says the same. `names`: the dimensions that its scope has; None when
        nobody knows in which order it saw them.
        """
        return self.is_said(Decimal(row[0]), row[1], row[2], {name: n // 10**9 for name, n in row[3].items()}, names)

    def is_said(
        self, cost: Decimal, retail: int, events: int, tokens: dict[str, int], names: Iterable[str] | None
    ) -> bool:
        """The same for numbers."""
        if (self.cost, self.retail, self.events) != (cost, retail, events):
            return False
        if names is not None:
            return folded(self.tokens, names) == tokens
        common = all(self.tokens.get(name, 0) == tokens.get(name, 0) for name in COMMON)
        return common and sum(self.tokens.values()) == sum(tokens.values())


def folded(tokens: Mapping[str, int], names: Iterable[str]) -> dict[str, int]:
    """What a scope with these dimensions keeps: of a full one, all others are one."""
    kept = set(names) - {"other"}
    if len(kept) < DIMENSIONS_MAX:
        return dict(tokens)
    found: dict[str, int] = defaultdict(int)
    for dimension, amount in tokens.items():
        found[dimension if dimension in kept else "other"] += amount
    return dict(found)
