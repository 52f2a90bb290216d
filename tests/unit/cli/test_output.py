"""What commands print is safe for a terminal and exact for a program."""

import pytest

from tollgate.cli.dead_letters import safe_lines
from tollgate.cli.exits import UsageError
from tollgate.cli.output import first, is_colourful, print_json, print_line, print_table
from tollgate.schemas.shown_text import safe


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 漢 🙂", "plain ü 漢 🙂"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\nb\r\tc\x00", "a\\nb\\r\\tc\\x00"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("abc\u202edef\u2066", "abc\\u202edef\\u2066"),
        ("line\u2028end", "line\\u2028end"),
        ("\ud800", "\\ud800"),
    ],
)
def test_nothing_reaches_a_terminal_that_would_control_it(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_a_payload_is_shown_line_by_line_with_its_bytes_escaped() -> None:
    assert safe_lines(b'{\r\n "a": "\x1b]0;owned\x07"\n}\xff') == ["{", ' "a": "\\x1b]0;owned\\x07"', "}\\xff"]


def test_lines_and_tables_are_escaped_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("a\x1bb")
    print_table(("NAME", "USD"), [("u1", "10"), ("u\n2", "0.5")], right=(1,))
    assert capsys.readouterr().out == "a\\x1bb\nNAME  USD\nu1     10\nu\\n2  0.5\n"


def test_a_cell_of_a_table_is_cut_after_1000_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME",), [("x" * 1000,), ("y" * 1001,)])
    assert capsys.readouterr().out == "NAME\n" + "x" * 1000 + "\n" + "y" * 999 + "…\n"


def test_a_list_is_cut_and_says_how_long_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert first(range(3), 3) == range(3)
    assert capsys.readouterr().err == ""
    assert first(range(1234), 3) == range(3)
    assert capsys.readouterr().err == "The first 3 of 1,234 are shown: a larger --limit shows more.\n"
    with pytest.raises(UsageError):
        first([], 0)


def test_json_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": ["ü\x1b\n", 1]})
    assert capsys.readouterr().out == '{"a": ["\\u00fc\\u001b\\n", 1]}\n'


def test_colours_need_a_terminal_and_no_veto(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert is_colourful(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not is_colourful(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not is_colourful(Terminal())
