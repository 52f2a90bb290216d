"""An answer for a page, or why there is none now: a page shows the rest of itself all the same."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Generic, TypeVar

from tollgate.console.numbers import BadQuestionError, TooLargeError, UnavailableError
from tollgate.console.problems import Problem

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Told(Generic[Answer]):
    """`value` is None when it cannot be told now; `why` is then a sentence for people."""

    value: Answer | None
    why: str = ""


async def told(asked: Awaitable[Answer]) -> Told[Answer]:
    """The answer to a question to ClickHouse. Raises Problem 422 when what was asked for makes no sense."""
    try:
        return Told(await asked)
    except (UnavailableError, TooLargeError) as error:
        return Told(None, str(error))
    except BadQuestionError as error:
        raise Problem(422, "invalid_request", str(error)) from None
