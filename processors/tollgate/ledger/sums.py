"""The sums of a batch: what its events add to each name of each dimension, in each slot of time.

An event adds to up to ten scopes: nine names and `global`. Adding to each of them in Python would take longer than all
other work. Events are therefore kept as columns, and numpy sums one dimension at a time on 64-bit integers. A column
whose sum might not fit is summed as Python integers instead, which is exact too.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tollgate.domain.spend import Spend
from tollgate.ledger.meters import Form
from tollgate.schemas.amounts import NANO, parse_amount
from tollgate.schemas.scopes import escaped
from tollgate.schemas.usage_codec import EventData, EventRecord
from tollgate.schemas.vocabulary import CREDITS, GLOBAL_SCOPE, Dimension, Shape

_INT64_MAX: Final = 2**63 - 1

Codes = npt.NDArray[np.intp]
# The names of one event, one for each of `BASE_SHAPES` and then a whole scope for each combination; "" for none.
Names = tuple[str, ...]
# Start of the slot, and `Horizon.since_ms` when the event was counted: together they tell the windows that hold it.
Time = tuple[int, int]
# Position of the shape, name, start of the slot, since when the horizon was as it was, and what was added.
NamedSum = tuple[int, str, int, int, Spend]

_PLACES: Final = {dimension: place for place, dimension in enumerate(Dimension)}

_names_of_data = attrgetter(*(dimension.value for dimension in Dimension if dimension is not Dimension.USER))


def names_of(event: EventRecord) -> Names:
    """What an event adds to."""
    return (event.subject, *_names_of_data(event.data), GLOBAL_SCOPE)


def usage_of(data: EventData) -> list[tuple[str, int]]:
    """What an event adds to the usage of its scopes, in 10⁻⁹ units: what it used, and the credits that it burns.

    A call burns its `retail_tokens`, unless it failed and is not billed. `usage.credits` of a sender is not counted.
    """
    usage = [(dimension, _nano(given)) for dimension, given in data.usage.items() if dimension != CREDITS]
    burned = data.retail_tokens
    if burned is not None and (data.status == "success" or data.billed) and (nano := _nano(burned)):
        usage.append((CREDITS, nano))
    return usage


def _nano(given: int | str) -> int:
    return given * NANO if isinstance(given, int) else parse_amount(given)


class Combinations:
    """The combinations that are summed besides the base names: those that budgets are on, and no others.

    `shapes` are theirs, in the order of the positions of their sums. `scopes` are exact (`user/u1+model/x`) or have
    stars (`user/*+feature/video`). `stars` tells for each shape where its scopes have them: bit i is for name i.
    """

    __slots__ = ("_parts", "scopes", "shapes", "stars")

    def __init__(self, scopes: frozenset[str] = frozenset(), forms: Iterable[Form] = ()) -> None:
        """`forms` are those of the scopes, those of the same dimensions beside each other."""
        self.scopes = scopes
        stars: dict[tuple[str, ...], list[int]] = {}
        for dimensions, places in forms:
            stars.setdefault(dimensions, []).append(places)
        self.shapes = tuple(Shape(tuple(map(Dimension, dimensions))) for dimensions in stars)
        self.stars = [sorted(places, reverse=True) for places in stars.values()]
        # Of each shape the places of its names in those of an event, each with what stands before it in the scope.
        self._parts = [[(_PLACES[d], f"{d.value}/") for d in shape.dimensions] for shape in self.shapes]

    def added(self, names: Names) -> Names:
        """The base names, then the scope of each shape; "" where the event lacks a name or no budget is on it."""
        if not self.shapes:
            return names
        return (*names, *(self._scope(names, *shape) for shape in zip(self._parts, self.stars, strict=True)))

    def _scope(self, names: Names, parts: list[tuple[int, str]], stars: list[int]) -> str:
        given = [(prefix, escaped(names[place])) for place, prefix in parts]
        if not all(name for _, name in given):
            return ""
        for starred in stars:
            texts = [prefix + ("*" if starred >> place & 1 else name) for place, (prefix, name) in enumerate(given)]
            if "+".join(texts) in self.scopes:
                return "+".join([prefix + name for prefix, name in given])
        return ""


NO_COMBINATIONS: Final = Combinations()


class BatchSums:
    """Events since the batch began. `names` has one event's names; `by_name` refers to them by their position."""

    __slots__ = ("costs_picousd", "names", "retails_picousd", "times", "usage")

    def __init__(self) -> None:
        self.names: list[Names] = []
        self.times: list[Time] = []
        self.costs_picousd: list[int] = []
        self.retails_picousd: list[int] = []
        # Per usage dimension: which events report it, and how much in 10⁻⁹ units.
        self.usage: dict[str, tuple[list[int], list[int]]] = {}

    def __len__(self) -> int:
        return len(self.names)

    def add(self, names: Names, time: Time, cost: int, retail: int, usage: Iterable[tuple[str, int]]) -> None:
        """Add an event: its cost and retail value in picousd, and what it used in 10⁻⁹ units."""
        number = len(self.names)
        self.names.append(names)
        self.times.append(time)
        self.costs_picousd.append(cost)
        self.retails_picousd.append(retail)
        for dimension, nano in usage:
            column = self.usage.get(dimension)
            if column is None:
                column = self.usage[dimension] = ([], [])
            column[0].append(number)
            column[1].append(nano)

    def by_name(self) -> Iterator[NamedSum]:
        """The sum of all events that share shape, name and time; see `NamedSum`.

        Events without a name in a dimension are left out of it. An amount of zero that was reported is in the sum.
        """
        if not self.names:
            return
        time_codes, times = _codes(self.times)
        costs, retails = _exact(self.costs_picousd), _exact(self.retails_picousd)
        usage = [(dim, np.array(events, np.intp), _exact(amounts)) for dim, (events, amounts) in self.usage.items()]
        for position, column in enumerate(zip(*self.names, strict=True)):
            codes, names = _codes(column)
            groups: Sequence[int] = range(len(names))
            if len(times) > 1:
                # Of all pairs of name and time only those that occur become groups.
                pairs, codes = _occurring(codes * len(times) + time_codes, len(names) * len(times))
                groups = pairs.tolist()
            count = len(groups)
            spends = [
                Spend(*sums)
                for sums in zip(
                    _sum(costs, codes, count),
                    _sum(retails, codes, count),
                    np.bincount(codes, minlength=count).tolist(),
                    strict=True,
                )
            ]
            for dimension, events, amounts in usage:
                theirs = codes[events]
                totals = _sum(amounts, theirs, count)
                for group in np.unique(theirs).tolist():
                    spends[group].usage_nano[dimension] = totals[group]
            for group, spend in zip(groups, spends, strict=True):
                name_code, time_code = divmod(group, len(times))
                if names[name_code]:
                    yield (position, names[name_code], *times[time_code], spend)


def _codes(column: Sequence[Any]) -> tuple[Codes, list[Any]]:
    """Each value as the position of its first occurrence among the distinct values, and these."""
    values = list(dict.fromkeys(column))
    if len(values) == 1:
        return np.zeros(len(column), np.intp), values
    positions = {value: position for position, value in enumerate(values)}
    # Written so that the loop over the events is not one of Python's: this is half of what a batch's sums cost.
    return np.fromiter(map(positions.__getitem__, column), np.intp, len(column)), values


def _occurring(codes: Codes, most: int) -> tuple[Codes, Codes]:
    """The codes that occur, in ascending order, and each code as its position among them. All are below `most`."""
    if most > 4 * len(codes):
        values, positions = np.unique(codes, return_inverse=True)
        return values, positions
    # Counting is several times faster than sorting where there are not many more possible codes than events.
    values = np.flatnonzero(np.bincount(codes, minlength=most))
    place = np.empty(most, np.intp)
    place[values] = np.arange(len(values))
    return values, place[codes]


def _exact(values: list[int]) -> npt.NDArray[Any]:
    """The values as 64-bit integers, or as Python's own when all of them together might exceed 63 bits."""
    fits = max(values, default=0) * len(values) <= _INT64_MAX
    return np.array(values, np.int64 if fits else object)


def _sum(values: npt.NDArray[Any], codes: Codes, count: int) -> list[int]:
    """The sum of the values of each code from 0 to `count` - 1."""
    totals = np.zeros(count, values.dtype)
    np.add.at(totals, codes, values)
    found: list[int] = totals.tolist()
    return found
