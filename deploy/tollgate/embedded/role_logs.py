"""The log files of the roles: `<data-dir>/logs/<role>.log`, bounded at every start of a role."""

import re
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

LOG_BYTES_MAX = 10 * 1024 * 1024
OLD_LOGS_KEPT = 2

# The end of a log in which the reason is looked for: an exception of Java with its stack, and the lines of a shutdown.
_LAST_BYTES = 8_000
_LAST_WORDS_CHARACTERS = 400
_EXCEPTION = re.compile(r"\w(?:Exception|Error): ")


def log_path(data_dir: Path, role: str) -> Path:
    """Where the role's output goes."""
    return data_dir / "logs" / f"{role}.log"


def open_log(data_dir: Path, role: str) -> BinaryIO:
    """Open the role's log at its end; one that grew past its bound becomes `<role>.log.1`, and so on."""
    path = log_path(data_dir, role)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        names = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, OLD_LOGS_KEPT + 1))]
        for newer, older in reversed(list(pairwise(names))):
            if newer.exists():
                newer.replace(older)
    return path.open("ab")


def last_words(data_dir: Path, role: str) -> str:
    """Why the role ended, for an error's text: the last line of its log that names an exception, else the last line.

    A role of Java goes on to log its shutdown after the exception that ended it. `nothing` when the log is empty.
    """
    try:
        with log_path(data_dir, role).open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - _LAST_BYTES))
            lines = [line.strip() for line in log.read().decode("utf-8", "replace").split("\n") if line.strip()]
    except OSError:
        return "nothing"
    named = [line for line in lines if _EXCEPTION.search(line)]
    return (named or lines or ["nothing"])[-1][:_LAST_WORDS_CHARACTERS]
