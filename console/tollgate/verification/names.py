"""Scopes and their names: `global`, `user/u1`, and combinations such as `user/u1+model/gpt-4o`.

A list of dimensions of its own, in the order of the contract, to check the one in `schemas`.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Final

from tollgate.schemas.partitions import partition_of
from tollgate.schemas.usage_codec import EventRecord

DIMENSIONS: Final = ("user", "org", "service", "provider", "model", "agent", "campaign", "feature", "product")
# A pattern's name for any.
ANY: Final = "*"

Names = tuple[tuple[str, str], ...]

_FOLLOWS: Final = f"(?=(?:{'|'.join(DIMENSIONS)})/)"
# Where a text is parted into the names of a combination. In a name this plus is written %2B, and a %2B there %252B.
_JOINT: Final = re.compile(rf"\+{_FOLLOWS}")
_PLUS: Final = re.compile(rf"%((?:25)*)2B{_FOLLOWS}")


def written(name: str) -> str:
    """A name as it stands in a scope: a user `u1+model/x` is no combination."""
    if "/" not in name:
        return name
    return _JOINT.sub("%2B", _PLUS.sub(r"%25\g<1>2B", name))


def raw(name: str) -> str:
    """The inverse of `written`."""
    return _PLUS.sub(lambda found: f"%{found[1][2:]}2B" if found[1] else "+", name) if "%" in name else name


@lru_cache(maxsize=65_536)
def names_of(scope: str) -> Names:
    """The dimensions and names of a scope or pattern, as they are written: `()` for `global`."""
    if scope == "global":
        return ()
    parts = (part.partition("/") for part in _JOINT.split(scope))
    return tuple((dimension, name) for dimension, _, name in parts)


def is_combination(scope: str) -> bool:
    """Whether a scope has more than one name."""
    return len(names_of(scope)) > 1


def shape_of(scope: str) -> tuple[str, ...]:
    """The dimensions of a scope or pattern."""
    return tuple(dimension for dimension, _ in names_of(scope))


def covers(pattern: str, scope: str) -> bool:
    """Whether a scope is the one of a budget, or one of those of a pattern: `user/*+model/gpt-4o`."""
    if pattern == scope:
        return True
    wanted, given = names_of(pattern), names_of(scope)
    return len(wanted) == len(given) and all(
        dimension == other and name in (ANY, found)
        for (dimension, name), (other, found) in zip(wanted, given, strict=True)
    )


def patterns_of(scope: str) -> Iterator[str]:
    """The scope, and every pattern that covers it: `user/u1`, `user/*`."""
    names = names_of(scope)
    choices = [(f"{dimension}/{name}", f"{dimension}/{ANY}") for dimension, name in names]
    return map("+".join, product(*choices)) if names else iter((scope,))


def user_of(scope: str) -> str | None:
    """The user of a scope that a user's partition owns; None for the scopes that users share."""
    names = names_of(scope)
    return raw(names[0][1]) if names and names[0][0] == "user" else None


def owner_of(scope: str, homes: int, shared: int) -> tuple[bool, int]:
    """Whether a user's partition owns the scope, and the number of the partition that does."""
    user = user_of(scope)
    if user is not None:
        return True, partition_of(user.encode(), homes)
    return False, partition_of(scope.encode(), shared)


def names_in(event: EventRecord) -> tuple[str, ...]:
    """The event's name in each of `DIMENSIONS`, empty where it has none."""
    data = event.data
    return (
        event.subject, data.org, data.service, data.provider, data.model, data.agent, data.campaign, data.feature,
        data.product,
    )  # fmt: skip


def scope_in(shape: tuple[str, ...], names: tuple[str, ...]) -> str | None:
    """The scope of this shape that an event with these names adds to; None when it lacks one of them."""
    if not shape:
        return "global"
    parts = []
    for dimension in shape:
        name = names[DIMENSIONS.index(dimension)]
        if not name:
            return None
        parts.append(f"{dimension}/{written(name)}")
    return "+".join(parts)
