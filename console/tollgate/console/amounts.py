"""How amounts read: money, prices and counts from decimal strings. Nothing for what is no number, never zero."""

from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any, Final

MINUS: Final = "\u2212"
DIGITS: Final = Context(prec=60)
"""ClickHouse's sums have 38 digits and Python's usual context 28."""


def decimal(value: Any) -> Decimal | None:
    """The number that a decimal string, an integer or a Decimal stands for; None when there is none."""
    if value is None or value == "" or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def exact(value: Any) -> str:
    """All digits, without an exponent and without trailing zeros: `0.000025`, `1234.5`."""
    number = decimal(value)
    if number is None:
        return ""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def money(value: Any) -> str:
    """US dollars for reading, at least two decimals.

    From one cent on, two: `$1,234.50`. Less shows two significant digits, so that a small price is never `$0.00`:
    `$0.000025`.
    """
    number = decimal(value)
    if number is None:
        return ""
    sign, size = (MINUS if number < 0 else ""), abs(number)
    places = 2 if size >= Decimal("0.01") or size == 0 else min(12, 1 - size.adjusted())
    rounded = size.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, DIGITS)
    text = f"{rounded:,f}"
    while places > 2 and text.endswith("0"):
        text, places = text[:-1], places - 1
    return f"{sign}${text}"


def price(value: Any) -> str:
    """A price in US dollars with all its digits, at least two decimals: `$0.035`, `$0.10`."""
    number = decimal(value)
    if number is None:
        return ""
    whole, _, part = exact(abs(number)).partition(".")
    return f"{MINUS if number < 0 else ''}${int(whole):,}.{part.ljust(2, '0')}"


def count(value: Any) -> str:
    """A number with thousands separators, at most three decimals: `41,208`."""
    number = decimal(value)
    if number is None:
        return ""
    if number != number.to_integral_value():
        number = number.quantize(Decimal("0.001"), ROUND_HALF_UP, DIGITS).normalize(DIGITS)
    return f"{number:,f}".replace("-", MINUS)
