"""The shipped books, read once."""

import pytest

from tollgate.domain.pricing import PriceBook, Pricer, load_price_book


@pytest.fixture(scope="session")
def book() -> PriceBook:
    return load_price_book()


@pytest.fixture(scope="session")
def pricer(book: PriceBook) -> Pricer:
    return Pricer(book)


@pytest.fixture(scope="session")
def october(book: PriceBook) -> Pricer:
    assert book
    return Pricer(load_price_book("oct-2025"))
