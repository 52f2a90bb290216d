"""Scopes: whose spend is counted. `global`, one name (`user/u-42`), or a combination (`user/u-42+model/gpt-4o`).

A combination has two or three names, joined by `+` in the order of `Dimension`. A name may contain slashes and plus
signs; one that itself contains `+<dimension>/` is written with `%2B` for that plus, so that the user `u1+model/x` is
never taken for the combination of `u1` and `x`.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from tollgate.schemas.text_rules import NAME_CHARS_MAX
from tollgate.schemas.vocabulary import GLOBAL_SCOPE, Dimension

__all__ = [
    "GLOBAL_SCOPE",
    "NAMES_MAX",
    "Dimension",
    "escaped",
    "is_combination",
    "joint_of",
    "parse_names",
    "parse_scope",
    "scope_of",
    "scope_of_all",
    "split_names",
]

# A combination has at most so many names.
NAMES_MAX: Final = 3

_DIMENSIONS: Final = frozenset(d.value for d in Dimension)
_PLACES: Final = {dimension: place for place, dimension in enumerate(Dimension)}
_ANY: Final = "(?=(?:" + "|".join(d.value for d in Dimension) + ")/)"
_JOINT: Final = re.compile(rf"\+{_ANY}")
# What `escaped` writes in place of such a plus is itself escaped where it stands in a name, so that no two names are
# written alike.
_TAKEN: Final = re.compile(rf"(?:\+|%(?:25)*2B){_ANY}")
_WRITTEN: Final = re.compile(rf"%(?:25)*2B{_ANY}")


def escaped(name: str) -> str:
    """The name as it stands in a scope: `u1+model/x` → `u1%2Bmodel/x`; nearly every name is the same."""
    if "/" not in name:
        return name
    return _TAKEN.sub(lambda found: "%2B" if found[0] == "+" else f"%25{found[0][1:]}", name)


def _unescaped(name: str) -> str:
    return _WRITTEN.sub(lambda found: "+" if found[0] == "%2B" else f"%{found[0][3:]}", name)


def scope_of(dimension: Dimension, name: str) -> str:
    """`scope_of(Dimension.USER, "u-42")` → `"user/u-42"`."""
    return f"{dimension.value}/{escaped(name)}"


def scope_of_all(names: Iterable[tuple[Dimension, str]]) -> str:
    """The inverse of `parse_names`, for names in the order of `Dimension`; `global` for none."""
    return "+".join(scope_of(dimension, name) for dimension, name in names) or GLOBAL_SCOPE


def joint_of(scope: str) -> int:
    """Where the plus before the second name of a combination is; -1 for another scope. It is not checked otherwise."""
    joint = _JOINT.search(scope) if "+" in scope else None
    return joint.start() if joint is not None else -1


def is_combination(scope: str) -> bool:
    """Whether the scope has two or more names. It is not checked otherwise."""
    return "+" in scope and _JOINT.search(scope) is not None


def split_names(scope: str) -> list[tuple[str, str]]:
    """The dimensions of a scope that is known to be one, and its names as they are written in it."""
    return [(dimension, name) for dimension, _, name in (part.partition("/") for part in _JOINT.split(scope))]


def parse_names(text: str) -> tuple[tuple[Dimension, str], ...]:
    """The dimensions and names of a scope, as events have them: one, or those of a combination; `()` for `global`.

    ValueError when the text is no scope: an unknown dimension, an empty name, a control character, a name of over 256
    characters, more than three names, a dimension twice, or dimensions in another order than `Dimension`'s.
    """
    if text == GLOBAL_SCOPE:
        return ()
    names = tuple(_parse_name(part, text) for part in _JOINT.split(text))
    if len(names) > NAMES_MAX:
        raise ValueError(f"{text[:64]!r} has {len(names)} names; a combination has at most {NAMES_MAX}")
    for (before, _), (after, _) in pairwise(names):
        if before is after:
            raise ValueError(f"{text[:64]!r} names the dimension {before.value} twice")
        if _PLACES[before] > _PLACES[after]:
            raise ValueError(f"{text[:64]!r} has {before.value} before {after.value}; write {after.value}/… first")
    return names


def _parse_name(part: str, text: str) -> tuple[Dimension, str]:
    head, slash, written = part.partition("/")
    if not slash or head not in _DIMENSIONS or not written:
        known = ", ".join(f"{d.value}/…" for d in Dimension)
        raise ValueError(f"{text[:64]!r} is not a scope; use global or one of {known}, or two or three joined by +")
    name = _unescaped(written)
    if len(name) > NAME_CHARS_MAX or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in name):
        raise ValueError(
            f"the name in {part[:64]!r} must be 1 to {NAME_CHARS_MAX} characters without control characters"
        )
    return Dimension(head), name


def parse_scope(text: str) -> tuple[Dimension, str] | None:
    """The scope's dimension and name; None for `global`. ValueError for a combination, and as `parse_names`."""
    names = parse_names(text)
    if len(names) > 1:
        raise ValueError(f"{text[:64]!r} is a combination of {len(names)} names, where one is needed")
    return names[0] if names else None
