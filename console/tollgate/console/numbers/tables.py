"""CSV and JSON of any length, written in parts.

CSV as RFC 4180 has it: UTF-8, lines end with CR LF, text is in quotes. A text that a spreadsheet would take for a
formula gets an apostrophe in front; numbers stay as they are, negative ones too.
"""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final


class ReportFormat(StrEnum):
    """How a report is written."""

    CSV = "csv"
    JSON = "json"

    @property
    def media_type(self) -> str:
        """For the header Content-Type."""
        return "text/csv; charset=utf-8; header=present" if self is ReportFormat.CSV else "application/json"


QUOTE: Final = '"'
# What Excel, LibreOffice and Google Sheets begin a formula with, and the wide forms that they read alike.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def defused(text: str) -> str:
    """The text for a spreadsheet's cell: `=1+1` becomes `'=1+1`."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


class Amount(str):
    """A number as text, which no cell's protection may change."""

    __slots__ = ()


class TableWriter:
    """The parts of one document: its head, rows, and its end."""

    def __init__(self, form: ReportFormat, columns: Sequence[str]) -> None:
        self._form = form
        self._columns = tuple(columns)
        self._is_first = True

    def head(self) -> bytes:
        """What comes before the first row."""
        return self._csv([self._columns]) if self._form is ReportFormat.CSV else b"["

    def rows(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """Rows with a cell for each column: text, `Amount`, an integer or None."""
        if self._form is ReportFormat.CSV:
            return self._csv(rows)
        parts = []
        for row in rows:
            # Amounts are text in JSON too: its numbers are floats to most readers.
            parts.append("\n" if self._is_first else ",\n")
            parts.append(json.dumps(dict(zip(self._columns, row, strict=True)), ensure_ascii=False))
            self._is_first = False
        return "".join(parts).encode("utf-8", "replace")

    def end(self) -> bytes:
        """What comes after the last row."""
        return b"" if self._form is ReportFormat.CSV else b"\n]\n"

    @staticmethod
    def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
        lines = [",".join(map(_cell, row)) for row in rows]
        return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace")


def _cell(value: Any) -> str:
    if isinstance(value, (Amount, int)):
        # Without quotes, so that a spreadsheet reads it as a number.
        return str(value)
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f'"{defused(text).replace(QUOTE, QUOTE + QUOTE)}"'
