"""Sums of cost, retail value, events and usage, in integers of 10⁻¹² USD and 10⁻⁹ units."""

from collections.abc import Mapping
from dataclasses import dataclass, field

USD_DECIMALS = 12
AMOUNT_DECIMALS = 9


def scaled(text: str, decimals: int) -> int:
    """A plain decimal as an integer of 10⁻ᵈᵉᶜⁱᵐᵃˡˢ: `scaled("2.5", 12)` → 2_500_000_000_000. ValueError otherwise."""
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if len(fraction) > decimals or not whole or not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"{text[:40]!r} is no decimal with at most {decimals} decimals")
    return int(whole + fraction.ljust(decimals, "0"))


def signed(text: str, decimals: int) -> int:
    """As `scaled`, with a minus in front too: `signed("-2.5", 9)` → -2_500_000_000."""
    return -scaled(text[1:], decimals) if text.startswith("-") else scaled(text, decimals)


def plain(value: int, decimals: int) -> str:
    """The shortest decimal string: `plain(2_500_000_000_000, 12)` → `"2.5"`."""
    digits = str(abs(value)).rjust(decimals + 1, "0")
    return f"{'-' * (value < 0)}{digits[:-decimals]}.{digits[-decimals:]}".rstrip("0").rstrip(".")


@dataclass(slots=True)
class Sum:
    """What was spent. Two sums are equal when all of it is, a usage of 0 being the same as none."""

    cost_picousd: int = 0
    retail_picousd: int = 0
    events: int = 0
    usage_nano: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Sum") -> None:
        """Add the other sum to this one."""
        self.cost_picousd += other.cost_picousd
        self.retail_picousd += other.retail_picousd
        self.events += other.events
        for dimension, amount in other.usage_nano.items():
            self.usage_nano[dimension] = self.usage_nano.get(dimension, 0) + amount

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sum) and self._numbers() == other._numbers()

    __hash__ = None  # type: ignore[assignment] # a sum changes

    def __le__(self, other: "Sum") -> bool:
        """Whether every number of this sum is at most that of the other."""
        return (
            self.cost_picousd <= other.cost_picousd
            and self.retail_picousd <= other.retail_picousd
            and self.events <= other.events
            and all(amount <= other.usage_nano.get(dimension, 0) for dimension, amount in self.usage_nano.items())
        )

    def __str__(self) -> str:
        usage = "".join(f", {d} {plain(a, AMOUNT_DECIMALS)}" for d, a in sorted(self.usage_nano.items()) if a)
        retail = f", retail {plain(self.retail_picousd, USD_DECIMALS)} USD" if self.retail_picousd else ""
        return f"{plain(self.cost_picousd, USD_DECIMALS)} USD, {self.events} events{usage}{retail}"

    def _numbers(self) -> tuple[int, int, int, Mapping[str, int]]:
        usage = {dimension: amount for dimension, amount in self.usage_nano.items() if amount}
        return self.cost_picousd, self.retail_picousd, self.events, usage
