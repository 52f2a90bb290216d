"""Changes of control records from the command line: who makes them, and what is told when one is not made."""

import getpass
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from tollgate.cli.exits import AnswerIsNoError, UnreachableError, UsageError
from tollgate.control import (
    Changed,
    ControlError,
    ControlStore,
    InvalidRecordError,
    VersionConflictError,
)
from tollgate.control import UnreachableError as ControlUnreachableError
from tollgate.runtime.settings import Settings
from tollgate.schemas.text_rules import NAME_CHARS_MAX


def system_actor() -> str:
    """`cli:USER` with the name of the user whom this process belongs to."""
    try:
        return f"cli:{getpass.getuser()}"[:NAME_CHARS_MAX]
    except (OSError, KeyError):
        # A container may run under a number that has no name.
        return "cli"


@contextmanager
def telling_refusals() -> Iterator[None]:
    """What a change raises becomes a sentence and an exit status."""
    try:
        yield
    except ControlUnreachableError as error:
        raise UnreachableError(str(error)) from None
    except InvalidRecordError as error:
        raise UsageError(str(error)) from None
    except VersionConflictError as error:
        raise AnswerIsNoError(f"nothing was changed: {error}") from None
    except ControlError as error:
        raise AnswerIsNoError(str(error)) from None


@asynccontextmanager
async def open_control(settings: Settings) -> AsyncIterator[ControlStore]:
    """The control store, read to its end. What it raises becomes a sentence and an exit status."""
    store = ControlStore(settings)
    try:
        with telling_refusals():
            await store.start()
            yield store
    finally:
        await store.stop()


async def change(
    settings: Settings,
    key: str,
    value: dict[str, Any] | None,
    *,
    actor: str | None = None,
    reason: str = "",
    expect_version: int | None = None,
) -> Changed:
    """Make one change, as the user of this system unless told otherwise. The errors of `open_control`."""
    async with open_control(settings) as store:
        return await store.change(
            key, value, actor=actor or system_actor(), reason=reason, expect_version=expect_version
        )
