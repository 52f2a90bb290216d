"""What the README tells a reader to type exists."""

import re

import pytest
from tests.tidy import repository
from tests.tidy.repository import ROOT

from tollgate.cli.main import build_app

CODE = re.compile(r"```[a-z]*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
COMMAND = re.compile(r"(?:^|[\s|&$(])tollgate((?: [a-z][a-z-]*)+)")
MAKE = re.compile(r"(?:^|[\s$])make ([a-z][a-z-]*)")


def code() -> list[str]:
    """The lines of the README that are set as code."""
    spans = CODE.findall(repository.text(ROOT / "README.md"))
    return [line for block, span in spans for line in (block or span).splitlines()]


def commands() -> list[tuple[str, ...]]:
    """The lower-case words after `tollgate` in each line of code."""
    return sorted({tuple(match.split()) for line in code() for match in COMMAND.findall(line)})


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_of_the_readme_exists(words: tuple[str, ...]) -> None:
    chain, apps, _ = build_app(words[0]).parse_commands(list(words))
    assert chain, f"tollgate {words[0]} is no command"
    assert apps[-1].default_command is not None, f"tollgate {' '.join(chain)} needs a subcommand"


def test_a_make_target_of_the_readme_exists() -> None:
    makefile = repository.text(ROOT / "Makefile")
    missing = {target for line in code() for target in MAKE.findall(line)} - set(
        re.findall(r"^([a-z-]+):", makefile, re.M)
    )
    assert not missing


def test_the_readme_names_the_two_commands_that_matter() -> None:
    assert {"make demo", "make test"} <= set(code())
