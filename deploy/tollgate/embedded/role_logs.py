"""The log files of the roles: `<data-dir>/logs/<role>.log`, bounded at every start of a role."""

from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

LOG_BYTES_MAX = 10 * 1024 * 1024
OLD_LOGS_KEPT = 2


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


def last_words(data_dir: Path, role: str, characters_max: int = 400) -> str:
    """The last line of the role's log, for an error's text; `nothing` when there is none."""
    try:
        with log_path(data_dir, role).open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - characters_max))
            lines = log.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return "nothing"
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
