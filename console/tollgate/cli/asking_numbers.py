"""Asking ClickHouse from the command line: the console's own questions, and their errors as exit statuses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tollgate.cli.exits import AnswerIsNoError, UnreachableError, UsageError
from tollgate.console.numbers import BadQuestionError, Numbers, TooLargeError, UnavailableError
from tollgate.console.numbers.ranges import parse_moment
from tollgate.runtime.settings import Settings


@asynccontextmanager
async def numbers_of(settings: Settings) -> AsyncIterator[Numbers]:
    """The numbers, closed at the end. UnreachableError, UsageError or AnswerIsNoError for what they raise."""
    numbers = Numbers(settings)
    try:
        yield numbers
    except UnavailableError as error:
        raise UnreachableError(f"{error} Start the stack with `tollgate up`, or set TOLLGATE_CLICKHOUSE_URL.") from None
    except BadQuestionError as error:
        raise UsageError(str(error)) from None
    except TooLargeError as error:
        raise AnswerIsNoError(str(error)) from None
    finally:
        await numbers.stop()


def moment(option: str, text: str) -> int:
    """Milliseconds of an instant or a date given on the command line. UsageError."""
    try:
        return parse_moment(text)
    except ValueError as error:
        raise UsageError(f"{option} {error}.") from None
