"""Which code counts ordinary events: the compiled core where it was built, else Python alone. Both count the same."""

from importlib import import_module
from importlib.util import find_spec
from typing import Literal

Core = Literal["compiled", "python"]
CoreSetting = Literal["auto", "compiled", "python"]

_MODULE = "tollgate.ledger._native"


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
