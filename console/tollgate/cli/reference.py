"""Writes docs/cli.md from the commands themselves: `python -m tollgate.cli.reference > docs/cli.md`."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from tollgate.cli.main import MOUNTS, build_app

if TYPE_CHECKING:
    from cyclopts import App

_HEAD: Final = """\
# The command line

Generated from the commands; `tollgate COMMAND --help` prints the same.

Exit status of every command: 0 for success; 1 when the answer is no (each command says what that means); 2 when the
arguments or settings are wrong; 3 when Kafka, ClickHouse or another service cannot be reached; 130 after Ctrl-C. Data
goes to stdout, everything else to stderr.

Settings are environment variables `TOLLGATE_*`, or lines of the TOML file that `TOLLGATE_CONFIG` names.
"""


def reference() -> str:
    """The whole document."""
    parts = [_HEAD]
    for mount in MOUNTS:
        for words, command in _leaves((mount.name,), build_app(mount.name)[mount.name]):
            parts.append(_section(" ".join(("tollgate", *words)), command))
    return "\n".join(parts)


def _leaves(words: tuple[str, ...], app: "App") -> Iterator[tuple[tuple[str, ...], "App"]]:
    """The commands that do something, in the order in which they are declared."""
    names = [name for name in app if not name.startswith("-")]
    if app.default_command is not None or not names:
        yield words, app
    for name in names:
        yield from _leaves((*words, name), app[name])


def _section(name: str, command: "App") -> str:
    text = command.generate_docs(output_format="markdown", recursive=False, heading_level=2, usage_name=name)
    # Started with `python -m`, the library puts that into the usage of a command within a group.
    text = text.replace(f" -m {_started_as()} ", " ", 1)
    _heading, _, rest = text.partition("\n\n")
    examples = [line.strip() for line in str(command.help_epilogue or "").splitlines()]
    shown = "\n".join(line for line in examples if line.startswith("tollgate") or " | tollgate" in line)
    lines = [f"## {name}", "", rest.rstrip(), ""]
    return "\n".join(lines + (["Examples:", "", "```console", shown, "```", ""] if shown else []))


def _started_as() -> str:
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec is not None else ""


if __name__ == "__main__":
    sys.stdout.write(reference())
