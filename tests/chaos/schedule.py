"""The order of the faults: like a deck of cards, shuffled, used to its end, and shuffled again. Seeded and pure."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deed:
    """One fault. All chance in it was drawn in advance, so that no moment and no answer changes what follows.

    `wait_seconds` passes before it; `calm`: it waits until a worker counts, else it strikes into whatever goes on.
    `choice` picks the victim and `amount` how much or how long, both in [0, 1).
    """

    number: int
    kind: str
    wait_seconds: float
    calm: bool
    choice: float
    amount: float

    def among(self, count: int) -> int:
        """The choice as an index of `count` things."""
        return int(self.choice * count)

    def between(self, low: float, high: float) -> float:
        """The amount as a number in [low, high)."""
        return low + (high - low) * self.amount


def deeds(seed: int, kinds: Mapping[str, int]) -> Iterator[Deed]:
    """Endless faults; `kinds` has how many cards of each kind are in the deck."""
    rnd = random.Random(seed)
    number = 0
    while True:
        deck = [kind for kind, count in kinds.items() for _ in range(count)]
        rnd.shuffle(deck)
        for kind in deck:
            number += 1
            yield Deed(number, kind, rnd.uniform(0.2, 2), rnd.random() < 0.65, rnd.random(), rnd.random())
