"""Commands to copy give the shell the exact name, whatever others put into it."""

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.schemas.shown_text import safe, shell_command, shell_option, shell_word

NAMES = [
    "u$(touch x)", "u`touch x`", "a b", "a'b", 'a"b', "a\\b", "a;rm -rf ~", "a&b", "a|b", "-rf", "--help", "~", "*",
    "!!", "#x", "a>b", "{a,b}", "", "ü漢🙂", "a\u202eb", "zero\u200bwidth", "a'\u202e'b\\", "@here", "$'x'", "=x", "%s",
]  # fmt: skip


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40))
def test_a_shell_splits_a_command_into_the_words_it_was_made_of(name: str) -> None:
    command = shell_command("tollgate", "budget", "set", name, *shell_option("--id", name))
    assert safe(command) == command
    if safe(name) == name:
        words = ["tollgate", "budget", "set", name]
        assert shlex.split(command) == [*words, *([f"--id={name}"] if name.startswith("-") else ["--id", name])]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("also", ["", "`@"])
def test_bash_takes_each_word_back_exactly(name: str, also: str) -> None:
    word = shell_word(name, also)
    assert not any(char in word for char in also)
    assert safe(word) == word
    done = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True, timeout=20)
    assert done.stdout == name.encode()


def test_a_name_with_a_hyphen_in_front_is_no_option() -> None:
    assert shell_command("tollgate", "budget", "remove", name="-x") == "tollgate budget remove -- -x"
    assert shell_command("tollgate", "why", name="user/u 1") == "tollgate why 'user/u 1'"
    assert shell_option("--id", "-x") == ("--id=-x",)
    assert shell_option("--id", "x") == ("--id", "x")
