"""Which code counts ordinary events: the compiled core where it was built, else Python alone. Both count the same."""

from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from typing import Literal

Core = Literal["compiled", "python"]
CoreSetting = Literal["auto", "compiled", "python"]

_MODULE = "tollgate.ledger._native"


class HandedOver(StrEnum):
    """Why the compiled core leaves a record to Python, which has the last word: `Why` in `native/src/tally.rs`."""

    FORM = "form"
    """Not the plain JSON of an event, or no event at all."""
    HEADERS = "headers"
    """The record has headers."""
    WINDOW_BEGINS = "window"
    """The clock reaches an instant from which on other windows are held."""
    MISROUTED = "misrouted"
    """The user's events live in another partition."""
    FUTURE = "future"
    OLD = "old"
    """The event's time is too far ahead of the broker's, or behind it."""
    CONFLICT = "conflict"
    """Its identity was counted with other data."""
    RESERVED = "reserved"
    """It settles a reservation."""
    NAME = "name"
    """One of its names may need an escape in the scope of a combination."""
    PRICE_UNKNOWN = "price"
    """No price for such events has been taught."""
    PRICE_SPECIAL = "special"
    """The price is known, and these amounts need its rules in full."""
    DIMENSIONS = "dimensions"
    """The batch has too many usage dimensions."""
    FULL = "full"
    """The batch has too many events."""


class CoreMissingError(RuntimeError):
    """The compiled core was asked for and is not installed, or does not load here. The text says what to do."""


def choose_core(setting: CoreSetting = "auto") -> Core:
    """The core that a setting means. `auto` takes the compiled one if it is there. CoreMissingError as named."""
    if setting == "python" or (setting == "auto" and find_spec(_MODULE) is None):
        return "python"
    try:
        import_module(_MODULE)
    except ImportError as error:
        raise CoreMissingError(
            f"the compiled core cannot be loaded ({error}); install where cargo is, or set TOLLGATE_CORE=python"
        ) from error
    return "compiled"
