"""Amounts of tokens that other libraries report, so that each token is counted once."""

from typing import Final

from tollgate.schemas.usage_limits import AMOUNT_UNITS_MAX

# Which parts are inside which whole, by the contract.
_PARTS: Final = (
    ("input_tokens", ("cached_input_tokens", "cache_write_tokens")),
    ("output_tokens", ("reasoning_tokens",)),
)


def put_inside(given: dict[str, int]) -> dict[str, int]:
    """The amounts with parts inside their whole, as the contract has them.

    OpenTelemetry and LiteLLM have them so too, but some libraries that feed these report them beside it. Where the
    parts are more than the whole they cannot be inside, and are added: 3 input tokens beside 5,758 from a cache are
    5,761.
    """
    for whole, parts in _PARTS:
        inside = sum(given.get(part, 0) for part in parts)
        if inside > given.get(whole, 0):
            given[whole] = given.get(whole, 0) + inside
    return given


def whole_amount(given: object) -> int:
    """A number of tokens, given as a number or as text; 0 for what is none: negative, a fraction, above 10¹⁸ - 1."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return 0
    try:
        amount = int(given)
        exact = float(amount) == float(given)
    except (ValueError, OverflowError):
        return 0
    return amount if exact and 0 < amount <= AMOUNT_UNITS_MAX else 0
