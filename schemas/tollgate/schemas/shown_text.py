r"""Text of others in front of people: on a terminal, in a log, in a command to copy.

Names may hold anything but control characters, and errors may quote bytes of any kind. What is shown must not move a
cursor, reorder or hide text, break a line, or run as more than one word of a shell.
"""

import re
import shlex
from typing import Final

# C0 and C1 controls, soft hyphens, zero-width and bidirectional characters, separators of lines and paragraphs, tags,
# and lone surrogates.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


def safe(text: str) -> str:
    r"""The text on one line without anything a terminal would act on: ESC becomes `\x1b`, a new line `\n`."""
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")


def shell_word(word: str, also: str = "") -> str:
    r"""The word as a shell takes it back exactly: `u$(x)` becomes `'u$(x)'`.

    A word with what `safe` would escape, or with a character of `also`, is written with escapes, as bash, zsh and ksh
    read them: `$'u\xe2\x80\xae'`.
    """
    if not word.isascii() or not word.isprintable() or any(char in word for char in also):
        hidden = {char for char in word if _UNSAFE.match(char) or char in also}
        if hidden:
            return "$'" + "".join(_ansi_c(char, char in hidden) for char in word) + "'"
    return shlex.quote(word)


def _ansi_c(char: str, hidden: bool) -> str:
    if hidden:
        return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
    return f"\\{char}" if char in "\\'" else char


def shell_command(*words: str, name: str | None = None, also: str = "") -> str:
    """A command that can be copied and run as it is. Every word is quoted where it needs to be.

    `name` is a positional argument that others chose: it comes last, after `--` when it begins with a hyphen.
    """
    if name is not None:
        words = (*words, "--", name) if name.startswith("-") else (*words, name)
    return " ".join(shell_word(word, also) for word in words)


def shell_option(option: str, value: str) -> tuple[str, ...]:
    """An option and its value as words: in one word where the value begins with a hyphen."""
    return (f"{option}={value}",) if value.startswith("-") else (option, value)
