"""Numbers as spreadsheets and programs write them into CSV, read exactly."""

import re
from decimal import Decimal
from typing import Final

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,4}))?")
_THOUSANDS: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{3})+")
# With a comma, an apostrophe, or blanks between digits: thousands or a decimal comma.
_SEPARATED: Final = re.compile(r"[+-]?[0-9]+(?:[.,'\u2019\s\u202f\u00a0][0-9]+)+")
# What no field accepts; larger exponents would make texts of thousands of digits.
_EXPONENT_MAX: Final = 40
# Dimensions that come in whole units, beside all whose name ends in `_tokens`.
_WHOLE: Final = frozenset({"images", "requests", "characters"})


class NumberError(ValueError):
    """The cell is no number that can be read without guessing. The text says why and what to do, without the cell."""


def plain_number(cell: str) -> int | str:
    """The number without exponent, sign of plus or needless zeros: `3e2`, `300.0` and `+300` are 300.

    What is no number at all is given back as it is, for the event's own rules to refuse. `3.5e-7` is `"0.00000035"`.
    NumberError for separators of thousands and decimal commas.
    """
    if len(cell) < 19 and cell.isascii() and cell.isdigit():
        return int(cell)
    form = _NUMBER.fullmatch(cell)
    if form is None:
        if _SEPARATED.fullmatch(cell):
            raise NumberError(
                "has separators in the number: write it without separators of thousands and with a point for decimals"
            )
        return cell
    if abs(int(form[1] or 0)) > _EXPONENT_MAX or len(cell) > 100:
        return cell
    number = Decimal(cell)
    if number == number.to_integral_value():
        return int(number)
    return f"{number:f}".rstrip("0")


def plain_amount(dimension: str, cell: str) -> int | str:
    """`plain_number` of a usage dimension. NumberError also where a point could separate thousands of whole units."""
    number = plain_number(cell)
    if not (dimension.endswith("_tokens") or dimension in _WHOLE):
        return number
    if _THOUSANDS.fullmatch(cell):
        raise NumberError(
            "could mean thousands or a fraction, and this dimension has no fractions: write the number without "
            "separators, for example 1234"
        )
    if isinstance(number, str) and _NUMBER.fullmatch(cell):
        raise NumberError("is a fraction of what is counted in whole units: write a whole number")
    return number
