"""Reads the price files that come with the package."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

import yaml

from tollgate.domain.pricing.book import Defaults, PriceBook
from tollgate.domain.pricing.listed import installed
from tollgate.domain.pricing.price import Options, Price, Rate, with_id
from tollgate.domain.pricing.rules import name_rules, option_rules
from tollgate.schemas.instants import to_ms

DEFAULT_BOOK: Final = "default"


class PriceFileError(ValueError):
    """A price file says something that is no price. It is our own mistake, found when the book is loaded."""


def book_names() -> list[str]:
    """The books that `load_price_book` knows: `default`, then the named ones."""
    names = sorted(file.name.removesuffix(".yaml") for file in (_prices() / "books").iterdir())
    return [DEFAULT_BOOK, *names]


def load_price_book(name: str = DEFAULT_BOOK) -> PriceBook:
    """The book of that name: the shipped prices over genai-prices, and a named book over both.

    Reads files of installed packages (about 0.3 s, once per process); never the network. ValueError for a name that
    is not in `book_names()`.
    """
    if name not in book_names():
        raise ValueError(f"there is no price book {name!r}; use one of {', '.join(book_names())}")
    own = [
        price
        for file in sorted(_prices().iterdir(), key=lambda file: file.name)
        if file.name.endswith(".yaml") and file.name != "defaults.yaml"
        for price in _prices_in(file)
    ]
    named = [] if name == DEFAULT_BOOK else _prices_in(_prices() / "books" / f"{name}.yaml")
    defaults = _mapping(_prices() / "defaults.yaml")
    return PriceBook(
        layers=(named, own) if named else (own,),
        list_prices=installed(),
        defaults=Defaults(
            rates={rate.dimension: rate for rate in _rates(defaults["fallback"])},
            other_usd=_decimal(defaults["other"]),
            retail_usd={product: _decimal(usd) for product, usd in defaults["retail_usd_per_token"].items()},
        ),
        aliases={alias: name for name, aliases in defaults["providers"].items() for alias in aliases},
        names=name_rules(),
        options=option_rules(),
    )


def _prices() -> Traversable:
    return files("tollgate.domain.pricing") / "prices"


def _mapping(file: Traversable) -> Mapping[str, Any]:
    loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(loaded, dict):
        raise PriceFileError(f"{file.name} holds no mapping")
    return loaded


def _prices_in(file: Traversable) -> list[Price]:
    loaded = _mapping(file)
    prices = []
    for entry in loaded["prices"]:
        merged = {**loaded.get("for_all", {}), **entry}
        for provider in merged.get("providers") or [merged.get("provider", "")]:
            try:
                prices.append(_price(provider, merged))
            except (ValueError, KeyError, ArithmeticError) as error:
                raise PriceFileError(f"{file.name}: {entry}: {error}") from error
    return prices


def _price(provider: str, entry: Mapping[str, Any]) -> Price:
    effective_to = entry.get("effective_to")
    price = Price(
        provider=provider,
        model=entry.get("model", ""),
        agent=entry.get("agent", ""),
        options=_options(entry.get("options", {})),
        rates=_rates(entry.get("rates", {})),
        effective_from_ms=_midnight_ms(entry["effective_from"]),
        effective_to_ms=None if effective_to is None else _midnight_ms(effective_to),
        source=entry["source"],
        free=entry.get("free", False),
        models=tuple(name.lower() for name in entry.get("models", ())),
    )
    if not price.rates and not price.free:
        raise ValueError("it has neither rates nor `free: true`")
    return with_id(price)


def _options(entry: Mapping[str, Any]) -> Options:
    return tuple((name, tuple(values) if isinstance(values, list) else (values,)) for name, values in entry.items())


def _rates(entry: Mapping[str, Any]) -> tuple[Rate, ...]:
    """`images: "0.04"` is 0.04 USD per image; `video_seconds: {usd: "0.12", per: "5"}` is linear in between."""
    rates = []
    for dimension, value in entry.items():
        terms: Mapping[str, Any] = value if isinstance(value, dict) else {"usd": value}
        rates.append(
            Rate(
                dimension,
                usd=_decimal(terms["usd"]),
                per=_decimal(terms.get("per", "1")),
                unless=tuple(terms.get("unless", ())),
                once_unless=tuple(terms.get("once_unless", ())),
            )
        )
    if any(rate.usd < 0 or rate.per <= 0 for rate in rates):
        raise ValueError("a price is not negative and is per a positive amount")
    return tuple(rates)


def _decimal(text: object) -> Decimal:
    """An unquoted figure in YAML would be a binary fraction, so money is written as text."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} must be in quotes")
    return Decimal(text)


def _midnight_ms(day: date) -> int:
    return to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))
