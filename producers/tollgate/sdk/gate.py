"""What the middlewares share: which requests are checked, by which names, and what becomes of them."""

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from tollgate.schemas.vocabulary import Dimension
from tollgate.sdk.answers import Answer, refusal_of
from tollgate.sdk.context import call_context, merged_names, usable_name
from tollgate.sdk.decision import Decision
from tollgate.sdk.errors import BlockedError
from tollgate.sdk.faces import Recorder

Names = str | Mapping[str, object] | None
"""Who makes a request: the user's id, or names by dimension (`{"user": "u-42", "org": "acme"}`); None for nobody."""
Paths = Iterable[str] | Callable[[str], bool]
"""Which paths are checked: prefixes (`/v1` is `/v1` and `/v1/chat`, not `/v10`), or a function that says so."""

T = TypeVar("T")

ALL_PATHS: Final = ("/",)
_DIMENSIONS: Final = frozenset(dimension.value for dimension in Dimension)


class Judged(NamedTuple):
    """A request with its names, and the decision on it."""

    names: Mapping[str, str]
    decision: Decision


class Gate:
    """Judges requests. Every method returns at once and needs no I/O."""

    def __init__(self, toll: Recorder, paths: Paths) -> None:
        """TypeError for `paths` that are one text, which would be read as its letters."""
        if isinstance(paths, str):
            raise TypeError(f"paths must be several prefixes, not one text: write paths=[{paths!r}]")
        self._toll = toll
        self._says = paths if callable(paths) else None
        prefixes = () if callable(paths) else tuple(paths)
        if not all(prefix.startswith("/") for prefix in prefixes):
            raise TypeError("every prefix in paths begins with a slash: write paths=['/v1']")
        self._prefixes = tuple(prefix.rstrip("/") for prefix in prefixes)

    def begin(self) -> None:
        """Begin to read limits, so that they are known when the first request comes. Waits for nothing."""
        self._toll.check(user="")

    def covers(self, method: str, path: str) -> bool:
        """Whether the request is checked. What browsers ask with OPTIONS, before they send the request itself, is not:
        it costs nothing, and they could not read the answer.
        """
        if method == "OPTIONS":
            return False
        # Some frameworks take `//v1` for `/v1`.
        path = f"/{path.lstrip('/')}"
        if self._says is not None:
            return self._says(path)
        return any(path == prefix or path.startswith(f"{prefix}/") for prefix in self._prefixes)

    def judge(self, found: Names) -> Judged | Answer:
        """The decision on a request of these names; an answer when no event may have one of them.

        A value that is no text is written as text: `42` is `"42"`. TypeError for a name that an event does not have,
        and for what is neither text nor names.
        """
        given = {"user": found} if isinstance(found, str) or found is None else found
        if not isinstance(given, Mapping):
            raise TypeError(f"names must give the user's id, or names by dimension, not {type(found).__name__}")
        names: dict[str, str | None] = {}
        for name, value in given.items():
            if value is None or value == "":
                continue
            text = usable_name(value if isinstance(value, str) else str(value))
            if text is None:
                return refusal_of(f"{name} must have 1 to 256 characters, none of them a control character")
            names[name] = text
        call: dict[str, Any] = merged_names(names)
        dimensions = {name: value for name, value in call.items() if name in _DIMENSIONS}
        # Without a user the limits of the company and of the other names still count.
        return Judged(call, self._toll.check(**{"user": "", **dimensions}))


def request_id_of(names: Mapping[str, str], header: str | None) -> str | None:
    """The id to tell in an answer: that of the names, else that of the request's own header when it is usable."""
    return names.get("request_id") or usable_name(header)


def blocked_in(error: BaseException) -> BlockedError | None:
    """The BlockedError that this is, or that a group of one holds: task groups wrap what their tasks raise."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, BlockedError) else None


def each_in_context(names: Mapping[str, str], items: Iterable[T]) -> Generator[T]:
    """The same items, each made inside `call_context(**names)`: for a body that is made while it is sent."""
    iterator = iter(items)
    try:
        while True:
            with call_context(**names):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
