"""Making names that strangers choose harmless: user ids, models and campaigns may hold anything up to 256 characters.

Slack reads `<!channel>`, `<@U…>` and `<http://…|text>` as mentions and links, and a terminal obeys escape sequences.
Nothing that comes out of here can mention, link, format, hide or reorder.
"""

import re
import unicodedata
from typing import Final

from tollgate.schemas.shown_text import shell_command

# Controls, invisible and bidirectional format characters, surrogates, private use, line separators.
_INVISIBLE: Final = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
# Only these words mention without angle brackets, and only where a workspace links names.
_MENTION: Final = re.compile(r"@(?=here|channel|everyone)", re.IGNORECASE)
# What Slack formats, makes an emoji of, or links without being asked: `*b*`, `_i_`, `~s~`, `:fire:`, addresses, quotes.
_MARKUP: Final = re.compile(
    r"[*_~`]|:[^\s:]+:|://|mailto:|www\.|[A-Za-z0-9-]\.[A-Za-z]{2,}|[^\s@]@[^\s@]|^\s*(?:>|[-•]\s|[0-9]+\.\s)|[#@][A-Za-z]"
)
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Combining marks stacked on one character spill over the lines around it.
_MARKS_MAX: Final = 2


def clean(text: str, limit: int = 256) -> str:
    """One visible line of at most `limit` characters; what is cut out of the middle becomes `…`.

    White space becomes a space, every invisible or reordering character U+FFFD, and a bare `@here` a full-width one.
    """
    out: list[str] = []
    marks = 0
    for char in shorten(text, limit):
        if char.isspace():
            out.append(" ")
            continue
        category = unicodedata.category(char)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks <= _MARKS_MAX:
            out.append(_REPLACEMENT if category in _INVISIBLE else char)
    return _MENTION.sub("\N{FULLWIDTH COMMERCIAL AT}", "".join(out))


def shorten(text: str, limit: int) -> str:
    """At most `limit` (≥ 3) characters; the head and the tail stay, because ids differ at both ends."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 3
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"


def escape(text: str) -> str:
    """Slack's three control characters as entities."""
    return "".join(_ENTITIES.get(char, char) for char in text)


def plain(text: str, limit: int = 256) -> str:
    """Untrusted text for `plain_text`, which Slack does not format: cleaned, escaped, and without code marks."""
    return escape(clean(text, limit).replace("`", "\N{MODIFIER LETTER GRAVE ACCENT}"))


def code(text: str, limit: int = 256) -> str:
    """Untrusted text as a code span, which it cannot leave and in which nothing is formatted."""
    return f"`{plain(text, limit) or ' '}`"


def literal(text: str, limit: int = 256) -> str:
    """Untrusted text for running text in mrkdwn: as it is, or as a code span when Slack would format a part of it."""
    return code(text, limit) if _MARKUP.search(clean(text, limit)) else plain(text, limit)


def command(*words: str, name: str | None = None) -> str | None:
    """A shell command that can be copied and run as it is; None when a word cannot be shown exactly."""
    if any(clean(word) != word or "`" in word for word in (*words, name or "")):
        return None
    return shell_command(*words, name=name)


def fit(text: str, limit: int) -> str:
    """Escaped text cut to Slack's limit without splitting an entity."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    amp = cut.rfind("&")
    if amp > cut.rfind(";"):
        cut = cut[:amp]
    return f"{cut}…"
