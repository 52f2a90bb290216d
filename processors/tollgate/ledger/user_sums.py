"""Sums of a batch that are wanted before it ends: those of users at once, those of shared scopes later, added up."""

from collections.abc import Iterable, Iterator, Sequence

from tollgate.domain.spend import Spend
from tollgate.ledger.sums import NamedSum
from tollgate.schemas.vocabulary import BASE_SHAPES, Shape


class UserSums:
    """Keeps the sums that can wait. A decision needs those of users alone."""

    def __init__(self) -> None:
        self._others: dict[tuple[int, str, int, int], Spend] = {}

    def of_users(self, sums: Iterable[NamedSum], shapes: Sequence[Shape]) -> Iterator[NamedSum]:
        """The sums of scopes that contain a user; the others are kept. `shapes` are those of combinations."""
        are_users = [shape.is_users for shape in (*BASE_SHAPES, *shapes)]
        for position, name, slot_ms, counted_ms, spend in sums:
            if are_users[position]:
                yield position, name, slot_ms, counted_ms, spend
                continue
            place = (position, name, slot_ms, counted_ms)
            kept = self._others.get(place)
            if kept is None:
                self._others[place] = spend
            else:
                kept.add(spend)

    def take_others(self) -> Iterator[NamedSum]:
        """The sums that were kept since this was last called."""
        taken, self._others = self._others, {}
        for place, spend in taken.items():
            yield *place, spend
