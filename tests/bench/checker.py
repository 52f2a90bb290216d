"""What the answers must be, worked out from the raw topics with the standard library's json and Decimal.

It shares nothing with the worker: no code of the product is imported, and the prices are written here by hand.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

_MILLION: Final = Decimal(1_000_000)

# USD per unit. Language models: the public lists of the providers as of November 2026, per million tokens;
# dall-e-3 standard 1024 per image; elevenlabs per character.
PRICES: Final[dict[str, dict[str, Decimal]]] = {
    "gpt-4o": {
        "input": Decimal("2.50") / _MILLION,
        "cached": Decimal("1.25") / _MILLION,
        "output": Decimal("10.00") / _MILLION,
    },
    "gpt-4o-mini": {"input": Decimal("0.15") / _MILLION, "output": Decimal("0.60") / _MILLION},
    "claude-sonnet-4-5": {
        "input": Decimal("3.00") / _MILLION,
        "cached": Decimal("0.30") / _MILLION,
        "output": Decimal("15.00") / _MILLION,
    },
    "gemini-2.5-flash": {"input": Decimal("0.30") / _MILLION, "output": Decimal("2.50") / _MILLION},
    "dall-e-3": {"images": Decimal("0.04")},
    "tts": {"characters": Decimal("0.00030")},
}


def cost(data: dict[str, Any]) -> Decimal:
    """The cost of a call; a failed one is free. Cached tokens are a part of the input tokens."""
    if data["status"] != "success":
        return Decimal(0)
    usage, prices = data["usage"], PRICES[data["model"]]
    cached = usage.get("cached_input_tokens", 0)
    total: Decimal = (usage.get("input_tokens", 0) - cached) * prices.get("input", Decimal(0))
    total += cached * prices.get("cached", Decimal(0))
    total += usage.get("output_tokens", 0) * prices.get("output", Decimal(0))
    total += usage.get("images", 0) * prices.get("images", Decimal(0))
    total += usage.get("characters", 0) * prices.get("characters", Decimal(0))
    return total


@dataclass
class Expected:
    """What must come out of the usage topic: each identity once."""

    costs: dict[str, Decimal] = field(default_factory=dict)
    by_user: dict[str, Decimal] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Iterable[bytes]) -> "Expected":
        """Work it out from the values of the usage topic, the first record of an identity counting."""
        self = cls()
        for value in values:
            event = json.loads(value)
            identity = f"{event['source']}|{event['id']}"
            if identity not in self.costs:
                amount = self.costs[identity] = cost(event["data"])
                user = event["subject"]
                self.by_user[user] = self.by_user.get(user, Decimal(0)) + amount
        return self

    def times(self, copies: int) -> "Totals":
        """The expected result when the same usage is sent several times under other ids."""
        by_user = {user: amount * copies for user, amount in self.by_user.items()}
        return Totals(self.count * copies, by_user)

    @property
    def count(self) -> int:
        """How many events must be counted."""
        return len(self.costs)

    @property
    def total(self) -> Decimal:
        """What they cost together."""
        return sum(self.costs.values(), Decimal(0))

    def faults_of_priced(self, values: Iterable[bytes]) -> list[str]:
        """What is wrong with the records of the priced topic; empty when each event is there once at its cost."""
        faults: list[str] = []
        seen: set[str] = set()
        for value in values:
            priced = json.loads(value)
            identity = f"{priced['source']}|{priced['event_id']}"
            if identity in seen:
                faults.append(f"{identity} was counted twice")
            seen.add(identity)
            right = self.costs.get(identity)
            if right is None or Decimal(priced["cost_usd"]) != right:
                faults.append(f"{identity} costs {right}, priced at {priced['cost_usd']}")
        if len(seen) != self.count:
            faults.append(f"{self.count} events were sent, {len(seen)} were priced")
        return faults

    def faults_of_spend(self, latest: dict[str, bytes]) -> list[str]:
        """What is wrong with the lifetime records of the spend topic: those of each user, and of everything."""
        return Totals(self.count, self.by_user).faults_of_spend(latest)


@dataclass(frozen=True)
class Totals:
    """How many events must be counted, and what each user spends."""

    count: int
    by_user: dict[str, Decimal]

    def faults_of_spend(self, latest: dict[str, bytes]) -> list[str]:
        """What is wrong with the lifetime records of the spend topic: those of each user, and of everything."""
        start = "|lifetime|1970-01-01T00:00:00Z"
        right = {f"user/{user}{start}": amount for user, amount in self.by_user.items()}
        right[f"global{start}"] = sum(self.by_user.values(), Decimal(0))
        faults = []
        for key, amount in right.items():
            said = Decimal(json.loads(latest[key])["spent_usd"]) if key in latest else None
            if said != amount:
                faults.append(f"{key} is {amount}, the topic says {said}")
        return faults
