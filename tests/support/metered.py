"""A budget book whose budgets need these sums of combinations, without the budgets themselves."""

from collections.abc import Mapping, Sequence

from tollgate.domain.budgets import BudgetBook
from tollgate.schemas.scopes import parse_names
from tollgate.schemas.vocabulary import Dimension, Shape


def shape(*dimensions: str) -> Shape:
    """The shape of scopes with these names."""
    return Shape(tuple(map(Dimension, dimensions)))


class Metered(BudgetBook):
    """Every scope of a shape counts in the shape's calendars."""

    def __init__(self, calendars: Mapping[Shape, Sequence[str]]) -> None:
        super().__init__()
        self.shapes = tuple(calendars)
        self._calendars = {shape.dimensions: tuple(texts) for shape, texts in calendars.items()}

    def meters(self) -> frozenset[tuple[str, str]]:
        return frozenset(
            ("+".join(f"{dimension.value}/*" for dimension in dimensions), calendar)
            for dimensions, calendars in self._calendars.items()
            for calendar in calendars
        )

    def calendars(self, scope: str) -> tuple[str, ...]:
        return self._calendars.get(tuple(dimension for dimension, _ in parse_names(scope)), ())
