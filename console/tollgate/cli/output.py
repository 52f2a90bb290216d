"""Printing. Data goes to stdout, everything else to stderr, and untrusted text cannot control the terminal."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from tollgate.schemas.shown_text import safe


def print_line(text: str = "") -> None:
    """One line of data on stdout, made safe for a terminal."""
    sys.stdout.write(safe(text) + "\n")


def print_json(value: Any) -> None:
    """One JSON document on one line of stdout. Lists are one array; what follows a topic prints one object per line.

    Numbers that are not integers must be decimal strings already: money is never a float.
    """
    sys.stdout.write(json.dumps(value, ensure_ascii=True, separators=(", ", ": ")) + "\n")


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[int] = ()) -> None:
    """Aligned columns on stdout, headers first; columns in `right` are right-aligned. Nothing is cut off."""
    aligned = set(right)
    cells = [[safe(str(cell)) for cell in row] for row in (headers, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    for row in cells:
        parts = [
            cell.rjust(width) if column in aligned else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        sys.stdout.write("  ".join(parts).rstrip() + "\n")


def say(text: str) -> None:
    """One line on stderr for the person at the terminal: progress, a hint, a result that is no data."""
    sys.stderr.write(safe(text) + "\n")


def say_error(text: str) -> None:
    """The one sentence of a failed command."""
    say(f"tollgate: {text}")


def is_colourful(stream: Any = None) -> bool:
    """Whether colours and moving bars may be written: a terminal, and neither NO_COLOR nor TERM=dumb is set."""
    return bool((stream or sys.stderr).isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")
