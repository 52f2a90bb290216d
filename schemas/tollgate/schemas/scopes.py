"""Scopes: whose spend is counted. `global`, or `<dimension>/<name>` such as `user/u-42` and `agent/SEO`."""

from typing import Final

from tollgate.schemas.vocabulary import GLOBAL_SCOPE, Dimension

__all__ = ["GLOBAL_SCOPE", "Dimension", "parse_scope", "scope_of"]

_DIMENSIONS: Final = frozenset(d.value for d in Dimension)


def scope_of(dimension: Dimension, name: str) -> str:
    """`scope_of(Dimension.USER, "u-42")` → `"user/u-42"`."""
    return f"{dimension.value}/{name}"


def parse_scope(text: str) -> tuple[Dimension, str] | None:
    """The scope's dimension and name; None for `global`. The name may itself contain slashes.

    ValueError when the text is no scope: unknown dimension, empty name, a control character, over 256 characters,
    or a combination (`user/u1+model/gpt-4o`), which no budget can be set on.
    """
    if text == GLOBAL_SCOPE:
        return None
    head, slash, name = text.partition("/")
    if not slash or head not in _DIMENSIONS or not name:
        known = ", ".join(f"{d.value}/…" for d in Dimension)
        raise ValueError(f"{text!r} is not a scope; use global or one of {known}")
    if len(name) > 256 or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in name):
        raise ValueError(f"the name in {text[:64]!r} must be 1 to 256 characters without control characters")
    return Dimension(head), name
