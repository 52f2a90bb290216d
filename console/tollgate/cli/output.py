"""Printing. Data goes to stdout, everything else to stderr, and untrusted text cannot control the terminal."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

from tollgate.cli.exits import UsageError
from tollgate.schemas.shown_text import safe

# Longer than any id or scope that is accepted. What is longer was written by somebody else, to fill a screen.
CELL_CHARS_MAX: Final = 1000

_Item = TypeVar("_Item")


def print_line(text: str = "") -> None:
    """One line of data on stdout, made safe for a terminal."""
    sys.stdout.write(safe(text) + "\n")


def print_json(value: Any) -> None:
    """One JSON document on one line of stdout. Lists are one array; what follows a topic prints one object per line.

    Numbers that are not integers must be decimal strings already: money is never a float.
    """
    sys.stdout.write(json.dumps(value, ensure_ascii=True, separators=(", ", ": ")) + "\n")


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[int] = ()) -> None:
    """Aligned columns on stdout, headers first; columns in `right` are right-aligned. A cell is cut after 1000
    characters.
    """
    aligned = set(right)
    cells = [[safe(_cut(str(cell))) for cell in row] for row in (headers, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    for row in cells:
        parts = [
            cell.rjust(width) if column in aligned else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        sys.stdout.write("  ".join(parts).rstrip() + "\n")


def _cut(text: str) -> str:
    return text if len(text) <= CELL_CHARS_MAX else text[: CELL_CHARS_MAX - 1] + "…"


def first(items: Sequence[_Item], limit: int) -> Sequence[_Item]:
    """The first of a list's items; how many more there are is said on stderr. UsageError for a limit below 1."""
    if limit < 1:
        raise UsageError("--limit is at least 1.")
    if len(items) > limit:
        say(f"The first {limit:,} of {len(items):,} are shown: a larger --limit shows more.")
    return items[:limit]


def say(text: str) -> None:
    """One line on stderr for the person at the terminal: progress, a hint, a result that is no data."""
    sys.stderr.write(safe(text) + "\n")


def say_error(text: str) -> None:
    """The one sentence of a failed command."""
    say(f"tollgate: {text}")


def is_colourful(stream: Any = None) -> bool:
    """Whether colours and moving bars may be written: a terminal, and neither NO_COLOR nor TERM=dumb is set."""
    return bool((stream or sys.stderr).isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")
