"""The cost of a usage event: prices from four sources, exact arithmetic, and an explanation of every figure."""

from tollgate.domain.pricing.book import PriceBook
from tollgate.domain.pricing.explain import Explanation, Line, explain
from tollgate.domain.pricing.price import Price, Rate, Tier
from tollgate.domain.pricing.pricer import ESTIMATED, FREE, PRICED, REPORTED, UNPRICED, Priceable, Pricer, Quote
from tollgate.domain.pricing.shipped import book_names, load_price_book

__all__ = [
    "ESTIMATED",
    "FREE",
    "PRICED",
    "REPORTED",
    "UNPRICED",
    "Explanation",
    "Line",
    "Price",
    "PriceBook",
    "Priceable",
    "Pricer",
    "Quote",
    "Rate",
    "Tier",
    "book_names",
    "explain",
    "load_price_book",
]
