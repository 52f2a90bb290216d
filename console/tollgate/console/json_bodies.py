"""JSON in requests: what RFC 8259 allows, no deeper and no longer than any reader after us can take."""

from typing import Any, Final

from tollgate.console.problems import Problem
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.strict_json import read_json

# No amount has more digits; Python itself refuses to write more than 4,300 of them.
_DIGITS_MAX: Final = 400
_INT_MAX: Final = 10**_DIGITS_MAX


def check_json(body: bytes) -> None:
    """Raises Problem 400 when a body that is not empty is no JSON document, 422 when a number in it is too long."""
    if not body:
        return
    document = read_json(body)
    if isinstance(document, Refusal):
        raise Problem(400, "invalid_json", f"{document.error}.")
    if _has_huge_number(document):
        raise Problem(422, "invalid_request", f"A number has more than {_DIGITS_MAX} digits.")


def _has_huge_number(node: Any) -> bool:
    if isinstance(node, dict):
        return any(map(_has_huge_number, node.values()))
    if isinstance(node, list):
        return any(map(_has_huge_number, node))
    if isinstance(node, float):
        return node in (float("inf"), float("-inf"))
    return isinstance(node, int) and not -_INT_MAX < node < _INT_MAX
