"""Exact amounts on the wire: money in 10⁻¹² USD, usage in 10⁻⁹ units; integers inside, decimal strings outside.

No float is ever made. `Decimal(38,12)` and `Decimal(38,9)` in ClickHouse hold every value these functions produce.
"""

import re
from typing import Final

PICO: Final = 10**12
NANO: Final = 10**9

# 10^14 USD and 10^18 units are far above any real event, and leave Decimal(38) room for a hundred million of them.
_MONEY = re.compile(r"([0-9]{1,14})(?:\.([0-9]{1,12}))?")
_USAGE = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,9}))?")

# What most senders write already; other forms are parsed and written again.
_SHORTEST_FRACTION: Final = re.compile(r"(?:0|[1-9][0-9]{0,17})\.[0-9]{0,8}[1-9]")


def parse_usd(text: str) -> int:
    """Decimal string to 10⁻¹² USD: `"2.5"` → 2_500_000_000_000.

    ValueError unless 0 ≤ value < 10^14 with at most 12 decimals.
    """
    return _parse(_MONEY, text, 12)


def parse_amount(text: str) -> int:
    """Decimal string to 10⁻⁹ units: `"1.5"` → 1_500_000_000. ValueError unless 0 ≤ value < 10^18 with ≤ 9 decimals."""
    return _parse(_USAGE, text, 9)


def _parse(pattern: re.Pattern[str], text: str, decimals: int) -> int:
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(f"not a plain decimal of at most {decimals} decimal places")
    whole, fraction = match.groups()
    unit: int = 10**decimals
    return int(whole) * unit + (int(fraction.ljust(decimals, "0")) if fraction else 0)


def format_usd(picousd: int) -> str:
    """10⁻¹² USD to the shortest decimal string: 104_200_000_000_000 → `"104.2"`. Negative values keep their sign."""
    if picousd < 0:
        return "-" + format_usd(-picousd)
    whole, fraction = divmod(picousd, PICO)
    return f"{whole}.{fraction:012d}".rstrip("0") if fraction else str(whole)


def format_amount(nano: int) -> str:
    """10⁻⁹ units to the shortest decimal string: 1_500_000_000 → `"1.5"`. Negative values keep their sign."""
    if nano < 0:
        return "-" + format_amount(-nano)
    whole, fraction = divmod(nano, NANO)
    return f"{whole}.{fraction:09d}".rstrip("0") if fraction else str(whole)


def canonical_amount(text: str) -> int | str:
    """Decimal string to an integer when it is whole, else to its shortest form: "2.0" → 2, "1.50" → "1.5".

    ValueError as `parse_amount`.
    """
    if _SHORTEST_FRACTION.fullmatch(text):
        return text
    nano = parse_amount(text)
    return format_amount(nano) if nano % NANO else nano // NANO


def canonical_usd(text: str) -> str:
    """Dollars in shortest form: "0.0120" → "0.012". ValueError as `parse_usd`."""
    return format_usd(parse_usd(text))
