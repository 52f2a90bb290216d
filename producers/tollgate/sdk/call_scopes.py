"""The scopes of a call, as far as anything is known about them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from typing import Final

from tollgate.schemas.scopes import GLOBAL_SCOPE, Dimension, parse_names, scope_of

_DIMENSIONS: Final = {dimension.value: dimension for dimension in Dimension}


def names_in(scope: str) -> tuple[str, ...]:
    """The single scopes that a scope is made of: `user/u1+model/x` → `("user/u1", "model/x")`; `()` for `global`.

    ValueError when the text is no scope.
    """
    return tuple(scope_of(dimension, name) for dimension, name in parse_names(scope))


def excepted_calls(scopes: Iterable[str]) -> tuple[frozenset[str], ...]:
    """Of each scope in a budget's or flag's `except` the single scopes that a call must have to be left alone. A text
    that is no scope is no call's.
    """
    found = []
    for scope in scopes:
        try:
            names = frozenset(names_in(scope))
        except ValueError:
            continue
        if names:
            found.append(names)
    return tuple(found)


def is_excepted(excepted: Iterable[frozenset[str]], singles: Set[str]) -> bool:
    """Whether a call with these single scopes (`provider/groq`, `user/u1`) is one of the `excepted_calls`."""
    return any(names <= singles for names in excepted)


def singles_of(call: Mapping[str, object]) -> dict[str, str]:
    """The single scopes of a call by dimension: `{"user": "u1", "org": None}` → `{"user": "user/u1"}`.

    A dimension without value is left out. TypeError for a name that is no dimension, and for a value that is no text.
    """
    found = {}
    for name, value in call.items():
        if name not in _DIMENSIONS:
            raise TypeError(f"{name!r} is no dimension of a call; these are: {', '.join(_DIMENSIONS)}")
        if value:
            if not isinstance(value, str):
                raise TypeError(f"{name} must be text, not {type(value).__name__}: write str(...)")
            found[name] = f"{name}/{value}" if "/" not in value else scope_of(_DIMENSIONS[name], value)
    return found


class KnownShapes:
    """Which dimensions are combined in the scopes that are held, so that a call asks for those combinations alone.

    A call of nine names has 120 combinations of two or three; a company uses a handful of shapes.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        # The same, made when one begins or ends: to ask which a call has takes a tenth of a microsecond each.
        self._shapes: tuple[tuple[tuple[str, ...], frozenset[str]], ...] = ()

    def add(self, scope: str) -> None:
        """A scope is held from now on."""
        shape = _shape_of(scope)
        if shape:
            self._counts[shape] += 1
            if self._counts[shape] == 1:
                self._see()

    def remove(self, scope: str) -> None:
        """A scope that was added is not held any more."""
        shape = _shape_of(scope)
        if shape:
            self._counts[shape] -= 1
            if not self._counts[shape]:
                del self._counts[shape]
                self._see()

    def clear(self) -> None:
        """Nothing is held any more."""
        self._counts.clear()
        self._see()

    def _see(self) -> None:
        self._shapes = tuple((shape, frozenset(shape)) for shape in self._counts)

    def scopes_of(self, singles: Mapping[str, str]) -> list[str]:
        """`global`, the single scopes, and those of their combinations whose shape is held."""
        scopes = [GLOBAL_SCOPE, *singles.values()]
        if self._shapes:
            given = singles.keys()
            scopes += ["+".join([singles[name] for name in shape]) for shape, names in self._shapes if names <= given]
        return scopes


def _shape_of(scope: str) -> tuple[str, ...]:
    # Every user has a scope; only what holds a plus can be a combination.
    if "+" not in scope:
        return ()
    try:
        names = parse_names(scope)
    except ValueError:
        # No call has it.
        return ()
    return tuple(dimension.value for dimension, _ in names) if len(names) > 1 else ()
