"""Aligned lines on the terminal: a label or the time in the first column, the text in the second."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final, TextIO

from tollgate.schemas.shown_text import safe

_INDENT: Final = 10
_COLOURS: Final = {"WARNING": "33", "BLOCKED": "31;1", "equal": "32", "DIFFERENT": "31;1", "free again": "32"}
_WORDS: Final = re.compile("|".join(_COLOURS))


def dollars(picousd: int) -> str:
    """`104_203_700_000_000` → `$104.20`: whole cents, rounded down, so that $99.999 does not read as $100."""
    whole, cents = divmod(picousd // 10**10, 100)
    return f"${whole:,}.{cents:02d}"


class Screen:
    """Writes lines to a stream, at once, made safe for a terminal."""

    def __init__(self, stream: TextIO, colourful: bool) -> None:
        self._stream = stream
        self._colourful = colourful

    def line(self, label: str, text: str = "") -> None:
        """One line under a label; without one it continues what stands above."""
        text = safe(text)
        words = _WORDS.sub(lambda word: f"\x1b[{_COLOURS[word[0]]}m{word[0]}\x1b[0m", text) if self._colourful else text
        head = f"\x1b[1m{label:<{_INDENT}}\x1b[0m" if self._colourful and label else f"{label:<{_INDENT}}"
        self._write(f"{head}{words}")

    def news(self, text: str) -> None:
        """One line with the time of day where it is read."""
        self.line(f"{datetime.now().astimezone():%H:%M:%S}", text)

    def block(self, lines: Iterable[str], prefix: str = "") -> None:
        """Lines without a label, as they are."""
        for line in lines:
            self._write(f"{'':<{_INDENT}}{prefix}{safe(line)}")

    def gap(self) -> None:
        """An empty line between two steps."""
        self._write("")

    def _write(self, line: str) -> None:
        self._stream.write(f"{line.rstrip()}\n")
        # Flushed, so that lines appear while things happen, through a pipe too.
        self._stream.flush()
