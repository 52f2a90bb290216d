"""Exit statuses of commands, and the errors that lead to them.

CommandError                one sentence for stderr that says what to do; never a traceback
├── AnswerIsNoError         exit 1: the thing asked for is not so, or was not done
├── UsageError              exit 2: the arguments, the settings or a file given are wrong
└── UnreachableError        exit 3: Kafka, ClickHouse or another service cannot be reached; may be retried

A command returns an `Exit` (None counts as `Exit.OK`) or raises one of these; `main` turns both into the status. Any
other exception is our bug and keeps its traceback.
"""

from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """Exit statuses of the command line: the contract's four, and the shell's own two for signals."""

    OK = 0
    NO = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class CommandError(Exception):
    """A failure that is expected to happen. Its text is printed as `tollgate: <text>`."""

    exit: ClassVar[Exit] = Exit.NO


class AnswerIsNoError(CommandError):
    """The answer is no: an unknown id, a scope that is not blocked, a line that was refused."""

    exit = Exit.NO


class UsageError(CommandError):
    """What the user gave cannot be used: an option, a setting, a file."""

    exit = Exit.USAGE


class UnreachableError(CommandError):
    """A service did not answer in time. The text names it, its address, and how to start or find it."""

    exit = Exit.UNREACHABLE
