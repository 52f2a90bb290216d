"""Each token in exactly one dimension: what of a whole is in which of its parts, and what is in none."""

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from itertools import combinations

from tollgate.domain.pricing.dimensions import CONTAINED_IN, PARTS_OF, TOKENS, overlap_of
from tollgate.domain.pricing.reported import OVERLAPS, Reported

# What one unit of a dimension costs, whether its price is known or stood in for.
Unit = Callable[[str], Fraction]

# Two dimensions that may have tokens in common, and the dimension of those.
_Cell = tuple[str, str, str]


class Split:
    """The tokens of one side of an event (`whole` is `input_tokens` or `output_tokens`), in nano-units.

    `leaves` are amounts without what narrower dimensions hold of them, `rest` is what no part holds, and `total` all
    tokens of the side. `doubts` say what was taken for granted. Where the event does not tell how much two dimensions
    have in common, `settle` decides.
    """

    def __init__(self, whole: str, reported: Reported) -> None:
        self.whole = whole
        self.doubts: list[str] = []
        self._reported = reported
        amounts = reported.amounts
        parts = [part for part in PARTS_OF[whole] if part in amounts]
        self.leaves = self._leaves(sorted(parts, key=lambda part: (-len(TOKENS[part].dimensions), part)))
        self._cells = self._open_cells()
        self.rest = amounts.get(whole, 0)
        inside = [part for part in self.leaves if not reported.is_beside(part)]
        if self.rest and self._excess(inside) > 0:
            # The provider is known not to count some parts in the whole, and the sums say that the sender did the same.
            inside = [part for part in inside if part not in reported.maybe_beside]
            if self._excess(inside) > 0:
                self.doubts.append(f"the parts of {whole} are more than the whole, so they are taken to be beside it")
                inside = []
        if not self.rest:
            # Nothing tells how much the parts have in common.
            inside = []
        self._inside = frozenset(inside)
        self._cells = [cell for cell in self._cells if self._inside.issuperset(cell[:2])]
        # Below zero while parts have tokens in common.
        self.rest -= sum(self.leaves[part] for part in inside)
        self.total = self.rest + sum(self.leaves.values())

    def settle(self, unit: Unit) -> None:
        """Find how much parts have in common that the event does not tell: as much as makes the dearest reading."""
        if not self._cells:
            if not self._reported.amounts.get(self.whole) and self._open_cells():
                self.doubts.append(f"how many of the parts of {self.whole} are the same tokens is not reported")
            return
        gains = {cell: unit(cell[2]) + unit(self.whole) - unit(cell[0]) - unit(cell[1]) for cell in self._cells}
        dearest = self._allocate(self._cells, gains, 1)
        cheapest = self._allocate(self._cells, gains, -1)
        if _value(dearest, gains) != _value(cheapest, gains):
            self.doubts.append(f"how many of the parts of {self.whole} are the same tokens is not reported")
        for (one, other, common), nano in dearest.items():
            self.leaves[one] -= nano
            self.leaves[other] -= nano
            self.leaves[common] = self.leaves.get(common, 0) + nano
            self.rest += nano
        self.rest = max(self.rest, 0)

    def _leaves(self, narrowest_first: list[str]) -> dict[str, int]:
        amounts = self._reported.amounts
        leaves: dict[str, int] = {}
        for part in narrowest_first:
            contained = {inner: leaves[inner] for inner in leaves if part in CONTAINED_IN[inner] and leaves[inner]}
            within = sum(contained.values())
            leaves[part] = amounts[part] - within if within <= amounts[part] else amounts[part]
            if within > amounts[part] and not all(self._stands_apart(inner) for inner in contained):
                self.doubts.append(f"the parts of {part} are more than it, so they are taken to be beside it")
        return leaves

    def _stands_apart(self, common: str) -> bool:
        """Whether an amount that two dimensions could share is more than either: then it is in neither."""
        amounts = self._reported.amounts
        wider = [part for part in CONTAINED_IN[common] if part != self.whole and amounts.get(part)]
        return common in OVERLAPS and all(amounts[common] > amounts[part] for part in wider)

    def _open_cells(self) -> list[_Cell]:
        """The pairs that may have tokens in common of which the event does not tell how many."""
        found = [part for part, nano in self.leaves.items() if nano and not self._reported.is_beside(part)]
        cells = []
        for one, other in combinations(found, 2):
            common = overlap_of(one, other)
            if common is not None and common not in self._reported.amounts:
                cells.append((one, other, common))
        return cells

    def _excess(self, inside: Iterable[str]) -> int:
        """How many more tokens the parts hold than the whole, when they have as much as possible in common."""
        known = set(inside)
        common = _fill(self.leaves, [cell for cell in self._cells if known.issuperset(cell[:2])])
        return sum(self.leaves[part] for part in known) - sum(common.values()) - self.rest

    def _allocate(self, cells: list[_Cell], gains: Mapping[_Cell, Fraction], sign: int) -> dict[_Cell, int]:
        """What parts have in common, when all of it is that is worth it, and as much more as the whole demands."""
        ranked = sorted(cells, key=lambda cell: (-sign * gains[cell], cell))
        common = _fill(self.leaves, [cell for cell in ranked if sign * gains[cell] > 0])
        left = dict(self.leaves)
        for (one, other, _), nano in common.items():
            left[one] -= nano
            left[other] -= nano
        missing = max(-self.rest - sum(common.values()), 0)
        for cell, nano in _fill(left, ranked, missing).items():
            common[cell] = common.get(cell, 0) + nano
        return common


def _fill(leaves: Mapping[str, int], cells: Iterable[_Cell], at_most: int | None = None) -> dict[_Cell, int]:
    """As much in common as the parts allow, one pair after the other; in all at most so much."""
    left = dict(leaves)
    filled: dict[_Cell, int] = {}
    for cell in cells:
        one, other, _ = cell
        nano = min(left[one], left[other])
        if at_most is not None:
            nano = min(nano, at_most - sum(filled.values()))
        if nano > 0:
            filled[cell] = nano
            left[one] -= nano
            left[other] -= nano
    return filled


def _value(common: Mapping[_Cell, int], gains: Mapping[_Cell, Fraction]) -> Fraction:
    return sum((nano * gains[cell] for cell, nano in common.items()), Fraction(0))
