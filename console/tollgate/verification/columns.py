"""Events as columns, summed by several keys at once with numpy, which is much faster than dictionaries.

Exact: a column whose sum might not fit 63 bits is added up as Python's own integers.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tollgate.verification.sums import AMOUNT_DECIMALS, scaled

_NANO: Final = 10**AMOUNT_DECIMALS
_INT64_MAX: Final = 2**63 - 1

# Cost, retail value (10⁻¹² USD), events, usage by dimension (10⁻⁹ units).
Cell = list[Any]


class Columns:
    """Events since the last `take`, each under one key of each kind of key."""

    def __init__(self, kinds: int) -> None:
        self._kinds = kinds
        self._clear()

    def _clear(self) -> None:
        self._codes: list[dict[Hashable, int]] = [{} for _ in range(self._kinds)]
        self._rows: list[list[int]] = [[] for _ in range(self._kinds)]
        self._costs: list[int] = []
        self._retails: list[int] = []
        self._usage: dict[str, tuple[list[int], list[int]]] = {}

    def __len__(self) -> int:
        return len(self._costs)

    def add(self, keys: Sequence[Hashable], cost: int, retail: int, usage: Mapping[str, int | str]) -> None:
        """Add an event; `keys` has one of each kind."""
        number = len(self._costs)
        self._costs.append(cost)
        self._retails.append(retail)
        for codes, rows, key in zip(self._codes, self._rows, keys, strict=True):
            rows.append(codes.setdefault(key, len(codes)))
        columns = self._usage
        for dimension, amount in usage.items():
            column = columns.get(dimension)
            if column is None:
                column = columns[dimension] = ([], [])
            column[0].append(number)
            column[1].append(amount * _NANO if isinstance(amount, int) else scaled(amount, AMOUNT_DECIMALS))

    def take(self) -> list[dict[Any, Cell]]:
        """The sums by each kind of key; then there are no events any more."""
        costs, retails = _exact(self._costs), _exact(self._retails)
        usage = [(d, np.array(numbers, np.intp), _exact(amounts)) for d, (numbers, amounts) in self._usage.items()]
        found: list[dict[Any, Cell]] = []
        for codes, given in zip(self._codes, self._rows, strict=True):
            rows, count = np.array(given, np.intp), len(codes)
            events = np.bincount(rows, minlength=count).tolist()
            sums = zip(_sums(costs, rows, count), _sums(retails, rows, count), events, strict=True)
            cells: list[Cell] = [[cost, retail, number, {}] for cost, retail, number in sums]
            for dimension, numbers, amounts in usage:
                for code, amount in _occurring(amounts, rows[numbers], count):
                    cells[code][3][dimension] = amount
            found.append(dict(zip(codes, cells, strict=True)))
        self._clear()
        return found


def _exact(values: list[int]) -> npt.NDArray[Any]:
    fits = max(values, default=0) * len(values) <= _INT64_MAX
    return np.array(values, np.int64 if fits else object)


def _sums(values: npt.NDArray[Any], rows: npt.NDArray[np.intp], count: int) -> list[int]:
    totals = np.zeros(count, values.dtype)
    np.add.at(totals, rows, values)
    found: list[int] = totals.tolist()
    return found


def _occurring(values: npt.NDArray[Any], rows: npt.NDArray[np.intp], count: int) -> Iterator[tuple[int, int]]:
    totals = _sums(values, rows, count)
    for code in np.flatnonzero(np.bincount(rows, minlength=count)).tolist():
        yield code, totals[code]
