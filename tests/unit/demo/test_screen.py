"""Lines on the screen."""

import io

import pytest

from tollgate.demo import Screen, dollars
from tollgate.schemas.amounts import PICO


def test_the_text_begins_in_the_eleventh_column() -> None:
    out = io.StringIO()
    screen = Screen(out, colourful=False)
    screen.line("history", "30 days")
    screen.line("", "more")
    screen.block(["one", "two"], "| ")
    screen.gap()
    assert out.getvalue() == "history   30 days\n          more\n          | one\n          | two\n\n"


def test_without_a_terminal_there_is_no_escape() -> None:
    out = io.StringIO()
    Screen(out, colourful=False).line("flag", "BLOCKED")
    assert out.getvalue() == "flag      BLOCKED\n"


def test_on_a_terminal_what_matters_has_a_colour() -> None:
    out = io.StringIO()
    Screen(out, colourful=True).line("", "u-1 BLOCKED now")
    assert out.getvalue() == "          u-1 \x1b[31;1mBLOCKED\x1b[0m now\n"


@pytest.mark.parametrize(
    ("picousd", "text"),
    [
        (0, "$0.00"),
        (104_203_700_000_000, "$104.20"),
        (99_999_000_000_000, "$99.99"),
        (100 * PICO, "$100.00"),
        (1_234_567 * PICO, "$1,234,567.00"),
    ],
)
def test_dollars_are_whole_cents_rounded_down(picousd: int, text: str) -> None:
    assert dollars(picousd) == text
