"""Read JSON exactly: what RFC 8259 allows and nothing else, with bounded numbers and bounded depth.

A repeated name counts with its last value, as most readers have it.
"""

import json
import re
from typing import Any, Final, NoReturn

from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.usage_limits import METADATA_DIGITS_MAX, METADATA_INT_MAX

# An event is three deep. Recursion in this or any later reader is bounded by it.
DEPTH_MAX: Final = 32
# Longer integers are read as ±10^4000, which no field accepts: Python converts no more than 4,300 digits.
_DIGITS_MAX: Final = METADATA_DIGITS_MAX
_INT_MAX: Final[int] = METADATA_INT_MAX + 1

# A string without its closing quote is taken to the end, so that the search never starts twice in the same text.
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"{[]}"))
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def read_json(value: bytes) -> Any | Refusal:
    """The document as Python's objects, or why it is none. Floats may be infinite (1e400); NaN is no JSON."""
    if is_too_deep(value):
        return Refusal(RefusalReason.INVALID, f"value: nested deeper than {DEPTH_MAX} levels")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        return Refusal(RefusalReason.INVALID_UTF8, f"value: not UTF-8 at byte {error.start}")
    if text.startswith("\ufeff"):
        return Refusal(RefusalReason.NOT_JSON, "value: starts with a byte order mark")
    try:
        document = json.loads(text, parse_int=_bounded_int, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        return Refusal(RefusalReason.NOT_JSON, f"value: not JSON at character {error.pos}")
    except _NoJsonError:
        return Refusal(RefusalReason.NOT_JSON, "value: NaN and Infinity are no JSON")
    # Surrogates come from escapes alone: the bytes are UTF-8.
    if b"\\" in value and _has_surrogate(document):
        return Refusal(RefusalReason.NOT_JSON, "value: a string holds half of a surrogate pair")
    return document


def is_too_deep(value: bytes) -> bool:
    """Whether objects and arrays are nested deeper than DEPTH_MAX, strings aside; of text that is no JSON, perhaps."""
    if value.count(b"{") + value.count(b"[") <= DEPTH_MAX:
        return False
    level = 0
    for byte in _STRING.sub(b"", value).translate(None, _NO_BRACKETS):
        level += 1 if byte in b"{[" else -1
        if level > DEPTH_MAX:
            return True
    return False


class _NoJsonError(ValueError):
    """Carries a refusal out of the parser's callback."""


def _no_constant(_name: str) -> NoReturn:
    raise _NoJsonError


def _bounded_int(digits: str) -> int:
    if len(digits.lstrip("-")) > _DIGITS_MAX:
        return -_INT_MAX if digits[0] == "-" else _INT_MAX
    return int(digits)


def _has_surrogate(node: Any) -> bool:
    if isinstance(node, str):
        return _SURROGATE.search(node) is not None
    if isinstance(node, dict):
        return any(_has_surrogate(name) or _has_surrogate(child) for name, child in node.items())
    return isinstance(node, list) and any(map(_has_surrogate, node))
