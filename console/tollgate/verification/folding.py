"""Usage dimensions of a scope that has too many: the worker adds up as `other` what it has no room for.

Which dimensions keep their names depends on which came first, and in shared scopes on the order in which partitions
were counted. So the names are taken from the state; every amount must then be in its place.
"""

from typing import Final

from tollgate.verification.sums import Sum

OTHER: Final = "other"
# What the documentation promises: the common dimensions and this many more.
DIMENSIONS_MAX: Final = 128


def folded(windows: dict[str, Sum], state: dict[str, Sum]) -> dict[str, Sum]:
    """The recounted windows with their usage as the scope keeps it. `state` has every window of the same scopes.

    A scope with room left keeps every name, so there nothing is added up, and a difference is one.
    """
    names: dict[str, set[str]] = {}
    full: set[str] = set()
    for key, amount in state.items():
        if OTHER in amount.usage_nano:
            scope = key.rsplit("|", 2)[0]
            names.setdefault(scope, set()).update(amount.usage_nano.keys() - {OTHER})
            if len(names[scope]) >= DIMENSIONS_MAX:
                full.add(scope)
    names = {scope: names[scope] for scope in full}
    if not names:
        return windows
    found = {}
    for key, amount in windows.items():
        own = names.get(key.rsplit("|", 2)[0])
        if own is not None and not amount.usage_nano.keys() <= own:
            usage: dict[str, int] = {}
            for dimension, nano in amount.usage_nano.items():
                name = dimension if dimension in own else OTHER
                usage[name] = usage.get(name, 0) + nano
            found[key] = Sum(amount.cost_picousd, amount.retail_picousd, amount.events, usage)
        else:
            found[key] = amount
    return found
