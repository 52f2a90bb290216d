"""Modules that take long to import, imported in a thread: the loop goes on meanwhile, and so does the service."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

_IMPORT_SECONDS_MAX: Final = 30.0
_running: Final[set[threading.Thread]] = set()

Made = TypeVar("Made")


async def in_a_thread(make: Callable[[], Made]) -> Made:
    """What `make` makes. Whoever is cancelled meanwhile does not stop it."""
    made: Future[Made] = Future()

    def run() -> None:
        try:
            made.set_result(make())
        except BaseException as error:  # noqa: BLE001 # it is told where it is waited for
            made.set_exception(error)
        finally:
            _running.discard(threading.current_thread())

    thread = threading.Thread(target=run, name="tollgate-sdk-import", daemon=True)
    _running.add(thread)
    thread.start()
    return await asyncio.shield(asyncio.wrap_future(made))


def wait_for_imports() -> None:
    """Return when no module is being imported here: in the child of a process that forks in the middle of an import
    that module can never be imported.
    """
    for thread in list(_running):
        thread.join(_IMPORT_SECONDS_MAX)
