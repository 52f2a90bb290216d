"""Which calls several budgets leave alone at once, as scopes. Pure."""

from collections.abc import Iterable, Iterator, Set
from functools import lru_cache
from itertools import chain, combinations, product
from typing import Final

from tollgate.schemas.budgets import EXCEPT_MAX
from tollgate.schemas.scopes import NAMES_MAX, Dimension, parse_names, scope_of_all

_ORDER: Final = {dimension: place for place, dimension in enumerate(Dimension)}

# The names of a scope.
Names = frozenset[tuple[Dimension, str]]


@lru_cache(maxsize=1024)
def excepted_by_all(each: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """The scopes whose calls each of these lists of scopes leaves alone, those with fewer names first.

    Of `("provider/groq", "model/x")` and `("provider/groq", "feature/chat")` that is `provider/groq` and
    `model/x+feature/chat`. A scope has at most three names: calls that only more of them tell are not left alone.
    """
    first, *others = dict.fromkeys(each)
    if not others:
        return first
    common = set(_read(first))
    for scopes in others:
        both = {one | other for one, other in product(common, _read(scopes))}
        # A flag has room for so many; a call that is not among them is blocked.
        common = set(sorted(_fewest({names for names in both if _is_scope(names)}), key=_place)[:EXCEPT_MAX])
    return tuple(map(_written, sorted(common, key=_place)))


def is_excepted(scopes: Iterable[str], names: Set[tuple[Dimension, str]]) -> bool:
    """Whether a call with these names is in one of the scopes, which a block leaves alone."""
    return any(wanted <= names for wanted in _read(scopes))


def _read(scopes: Iterable[str]) -> Iterator[Names]:
    return filter(None, map(_names, scopes))


@lru_cache(maxsize=4096)
def _names(scope: str) -> Names:
    try:
        return frozenset(parse_names(scope))
    except ValueError:
        # Of a later release: it leaves no call alone that this one knows.
        return frozenset()


def _is_scope(names: Names) -> bool:
    """Whether a call can have all these names, and a scope has room for them."""
    return len(names) <= NAMES_MAX and len({dimension for dimension, _ in names}) == len(names)


def _fewest(found: set[Names]) -> Iterator[Names]:
    """Without those that have all the names of another one."""
    for names in found:
        parts = chain.from_iterable(combinations(names, count) for count in range(1, len(names)))
        if not any(frozenset(part) in found for part in parts):
            yield names


def _place(names: Names) -> tuple[int, str]:
    return len(names), _written(names)


def _written(names: Names) -> str:
    return scope_of_all(sorted(names, key=lambda name: _ORDER[name[0]]))
