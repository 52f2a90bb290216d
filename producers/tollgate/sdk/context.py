"""Names that a block of code gives to every call inside it: `with call_context(user="u-42", agent="SEO"):`."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from tollgate.schemas.text_rules import CONTROL_CHARACTER, NAME_CHARS_MAX

log = logging.getLogger("tollgate.sdk")

CONTEXT_NAMES: Final = (
    "user", "org", "service", "provider", "model", "agent", "campaign", "feature", "product", "operation",
    "resource_type", "resource_id", "request_id",
)  # fmt: skip
"""The names that a context may hold: the dimensions of a call, and what an event says beside them."""

UNKNOWN_USER: Final = "unknown"
"""The user of a call that names none. Its cost is real, so it is counted under this name."""

_ALLOWED: Final = frozenset(CONTEXT_NAMES)
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_current: Final[ContextVar[Mapping[str, str]]] = ContextVar("tollgate_call_context", default=_NOTHING)


def current_names() -> Mapping[str, str]:
    """The names that hold here, read-only; empty outside of every `call_context`.

    They follow the thread and the asyncio task as all context variables do: a task has those of where it was created,
    a new thread has none unless it is started through `asyncio.to_thread` or `contextvars.copy_context().run`.
    """
    return _current.get()


@contextmanager
def call_context(**names: str | None) -> Iterator[Mapping[str, str]]:
    """Give these names to every call inside the block, in sync and in async code; gives all names that hold there.

    An inner block inherits the names of the outer one, and its own win: `agent="SEO"` inside `user="u-42"` has both.
    None leaves a name as it is outside. A name that a call itself is given wins over these.

    TypeError for a name that an event does not have, and for a value that is no text.
    """
    merged = merged_names(names)
    token = _current.set(MappingProxyType(merged))
    try:
        yield current_names()
    finally:
        _current.reset(token)


def merged_names(names: Mapping[str, str | None]) -> dict[str, str]:
    """The current names with these over them. None leaves a name as it is. Raises TypeError as `call_context`."""
    merged = dict(_current.get())
    for name, value in names.items():
        if name not in _ALLOWED:
            raise TypeError(f"{name!r} is no name of a call: give {', '.join(CONTEXT_NAMES)}")
        if value is None:
            continue
        if not isinstance(value, str):
            raise TypeError(f"{name} must be text, not {type(value).__name__}: write {name}=str(...)")
        merged[name] = value
    return merged


@lru_cache(maxsize=1)
def warn_of_unknown_user() -> None:
    """Log, once in a process, that a call names no user."""
    log.warning("a call names no user and is counted for %r: say user=… or use call_context", UNKNOWN_USER)


def usable_name(given: object) -> str | None:
    """The text when an event may have it as a name or an id, else None: 1 to 256 characters of UTF-8, none of them a
    control character. For names that come from outside: headers, spans, the arguments of other libraries.
    """
    if not isinstance(given, str) or not 0 < len(given) <= NAME_CHARS_MAX or CONTROL_CHARACTER.search(given):
        return None
    try:
        given.encode()
    except UnicodeEncodeError:
        # A lone surrogate: no UTF-8 text has it.
        return None
    return given
