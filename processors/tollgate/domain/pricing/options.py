"""Options of events that change a price: the names and values that services send, and the ones that prices use."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fnmatch import fnmatchcase

from tollgate.domain.pricing.price import Price


@dataclass(frozen=True, slots=True)
class OptionRule:
    """One option. `values` gives what a value is called where prices are chosen: the option's name and value, None in
    place of one that changes nothing. An `open` option takes any value.
    """

    name: str
    aliases: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, str] | None] = field(default_factory=dict)
    open: bool = False


class OptionRules:
    """The table of `prices/rules/options.yaml`."""

    def __init__(self, rules: Iterable[OptionRule]) -> None:
        self._by_name = {name: rule for rule in rules for name in (rule.name, *rule.aliases)}
        self.names = frozenset(self._by_name)

    def read(self, options: Mapping[str, str]) -> dict[str, str]:
        """The options under the names and values that prices use, without those that change nothing.

        `{"serviceTier": "batch"}` → `{"processing": "batch"}`. What the table does not have stays as it is. Said twice,
        the option's own name goes before its aliases.
        """
        read: dict[str, str] = {}
        for name, value in sorted(options.items(), key=lambda item: (self._is_own(item[0]), item[0])):
            meant = self._meant(name, value)
            if meant is not None:
                read[meant[0]] = meant[1]
        return read

    def read_price(self, price: Price) -> Price:
        """The price, for options as `read` gives them.

        One for `service_tier=standard` is for events that say nothing of it.
        """
        options: list[tuple[str, tuple[str | None, ...]]] = []
        for name, values in price.options:
            if name in self.names and len(values) == 1 and values[0] is not None:
                meant = self._meant(name, values[0])
                rule = self._by_name[name]
                options.append((rule.name, (None,)) if meant is None else (meant[0], (meant[1],)))
            else:
                options.append((name, values))
        return replace(price, options=tuple(options))

    def _is_own(self, name: str) -> bool:
        rule = self._by_name.get(name)
        return rule is not None and rule.name == name

    def _meant(self, name: str, value: str) -> tuple[str, str] | None:
        rule = self._by_name.get(name)
        if rule is None:
            return name, value
        folded = value.strip().lower()
        if rule.open:
            return rule.name, folded
        return rule.values.get(folded, (rule.name, value))


@dataclass(frozen=True, slots=True)
class Factor:
    """Events with the option pay every token rate of the provider's list times `times`, from `since_ms` on.

    `values` and `models` are patterns as in fnmatch; `models` are ids of the list.
    """

    provider: str
    option: str
    values: tuple[str, ...]
    models: tuple[str, ...]
    times: Decimal
    since_ms: int

    def fits(self, provider: str, model_id: str, option: str, value: str) -> bool:
        return (
            (self.provider, self.option) == (provider, option)
            and any(fnmatchcase(value, pattern) for pattern in self.values)
            and any(fnmatchcase(model_id, pattern) for pattern in self.models)
        )


@dataclass(frozen=True, slots=True)
class Offered:
    """Since when a provider has offered what an option's value asks for."""

    provider: str
    option: str
    value: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class OfferRules:
    """The rules of `prices/rules/factors.yaml`."""

    factors: tuple[Factor, ...]
    offered: tuple[Offered, ...]

    def factor(self, provider: str, model_id: str, option: str, value: str) -> Factor | None:
        """The first factor that fits, whatever the time."""
        return next((factor for factor in self.factors if factor.fits(provider, model_id, option, value)), None)

    def offered_since_ms(self, provider: str, option: str, value: str) -> int | None:
        named = (provider, option, value)
        return next((o.since_ms for o in self.offered if (o.provider, o.option, o.value) == named), None)
