"""A budget book whose budgets need these sums of combinations, without the budgets themselves."""

from collections.abc import Mapping, Sequence

from tollgate.domain.budget_book import BudgetBook
from tollgate.ledger.meters import form_of
from tollgate.ledger.sums import Combinations
from tollgate.schemas.scopes import parse_names
from tollgate.schemas.vocabulary import Dimension, Shape


def shape(*dimensions: str) -> Shape:
    """The shape of scopes with these names."""
    return Shape(tuple(map(Dimension, dimensions)))


def every(shape: Shape) -> str:
    """The pattern of all scopes of a shape: `user/*+model/*`."""
    return "+".join(f"{dimension.value}/*" for dimension in shape.dimensions)


def all_of(*shapes: Shape) -> Combinations:
    """All scopes of these shapes."""
    scopes = [every(shape) for shape in shapes]
    return Combinations(frozenset(scopes), map(form_of, scopes))


class Metered(BudgetBook):
    """Budgets on these scopes and patterns, `user/*+model/*`, in these calendars."""

    def __init__(self, calendars: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self._wanted = {parse_names(scope): tuple(texts) for scope, texts in calendars.items()}
        self._sums = frozenset((scope, calendar) for scope, texts in calendars.items() for calendar in texts)
        combined = [names for names in self._wanted if len(names) > 1]
        self.shapes = tuple(dict.fromkeys(Shape(tuple(d for d, _ in names)) for names in combined))
        self._known: dict[str, tuple[str, ...]] = {}

    def meters(self) -> frozenset[tuple[str, str]]:
        return self._sums

    def calendars(self, scope: str) -> tuple[str, ...]:
        known = self._known.get(scope)
        if known is None:
            names = parse_names(scope)
            found = [texts for wanted, texts in self._wanted.items() if _fits(wanted, names)]
            known = self._known[scope] = tuple(sorted({text for texts in found for text in texts}))
        return known


def _fits(wanted: tuple[tuple[Dimension, str], ...], names: tuple[tuple[Dimension, str], ...]) -> bool:
    return len(wanted) == len(names) and all(
        dimension is theirs and name in ("*", given)
        for (dimension, name), (theirs, given) in zip(wanted, names, strict=True)
    )
