"""What scopes and patterns are made of: which scopes a pattern means, and whose name a combination has."""

import re
from typing import Final

from tollgate.schemas.scopes import Dimension, is_combination, parse_names, split_names

# The plus before another name of a combination, for RE2.
JOINT: Final = r"\+(?:" + "|".join(dimension.value for dimension in Dimension) + ")/"


def is_pattern(scope: str) -> bool:
    """Whether a budget's scope stands for many: `user/*`, `user/*+feature/video`."""
    return scope.endswith("/*") or "/*+" in scope


def includes(scope: str, single: str) -> bool:
    """Whether the scope is this single name, or a combination that has it: `user/u1+model/x` has `user/u1`."""
    if scope == single:
        return True
    return single in scope and is_combination(scope) and single in map("/".join, split_names(scope))


def matches(pattern: str, scope: str) -> bool:
    """Whether the pattern means this scope; a scope without a star means itself alone."""
    if not is_pattern(pattern):
        return pattern == scope
    wanted, found = split_names(pattern), split_names(scope)
    return len(wanted) == len(found) and all(
        dimension == other and name in ("*", given)
        for (dimension, name), (other, given) in zip(wanted, found, strict=True)
    )


def expression_of(pattern: str) -> tuple[str, int]:
    """A regular expression of RE2 for the scopes that a pattern means, and how many joints each of them has. A scope
    with other joints may match the expression too: both must be asked for.
    """
    names = split_names(pattern)
    parts = [f"{dimension}/" + (".+" if name == "*" else re.escape(name)) for dimension, name in names]
    return "(?s)^" + r"\+".join(parts) + "$", len(names) - 1


def name_in(scope: str) -> str:
    """The name of a single scope as events have it; the text itself where it is none.

    A name that no event may have any more, such as one with a NUL, is taken as it is written.
    """
    try:
        names = parse_names(scope)
    except ValueError:
        return scope.partition("/")[2] or scope
    return names[0][1] if len(names) == 1 else scope
