"""Whose numbers a caller may see, and how a question is narrowed down to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tollgate.schemas.scopes import GLOBAL_SCOPE, Dimension, parse_names, scope_of


class Restriction(NamedTuple):
    """Only events of this user and of this org count; an empty name restricts nothing."""

    user: str = ""
    org: str = ""


EVERYTHING = Restriction()


@dataclass(frozen=True, slots=True)
class Names:
    """Events that have all of these names. `impossible`: two different names were asked for in one dimension, so no
    event has them.
    """

    by: Mapping[Dimension, str] = field(default_factory=dict)
    impossible: bool = False

    @property
    def scope(self) -> str | None:
        """The scope that counts just these events, whatever budgets there are; None where it takes several names, which
        the worker sums up only where a budget needs it.
        """
        if len(self.by) > 1:
            return None
        for dimension, name in self.by.items():
            return scope_of(dimension, name)
        return GLOBAL_SCOPE


def narrowed(restriction: Restriction, scope: str = GLOBAL_SCOPE, by: Mapping[Dimension, str] | None = None) -> Names:
    """The names that events must have to be of the scope and of `by`, and that the caller may see.

    ValueError when the scope is none. A name that is asked for never widens the restriction:
    `narrowed(Restriction(org="acme"), "org/globex")` is impossible.
    """
    names = dict(by or {})
    impossible = False
    more = list(parse_names(scope))
    more += [(Dimension.USER, restriction.user)] if restriction.user else []
    more += [(Dimension.ORG, restriction.org)] if restriction.org else []
    for dimension, name in more:
        impossible = impossible or names.get(dimension, name) != name
        names[dimension] = name
    return Names(names, impossible)
