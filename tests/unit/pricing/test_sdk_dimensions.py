"""What the SDK makes of a provider's usage costs what the worker bills for the provider's own words."""

import os
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from tests.unit.pricing.events import NOW, event
from tests.unit.pricing.test_conventions import PROVIDERS

from tollgate.domain.pricing import Pricer
from tollgate.schemas.amounts import PICO
from tollgate.sdk.providers import dimensions

SEED = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))


@pytest.mark.parametrize(("convention", "subject", "block"), PROVIDERS, ids=[block.__name__ for *_, block in PROVIDERS])
def test_the_worker_bills_the_same_as_for_the_providers_own_words(
    pricer: Pricer, convention: Any, subject: str, block: Callable[[random.Random], tuple[Any, Fraction, int]]
) -> None:
    """The blocks are those that the price code is tested with, and each has its cost by hand."""
    print(f"TOLLGATE_TEST_SEED={SEED}")
    rnd = random.Random(f"{SEED} {block.__name__} dimensions")
    for _ in range(500):
        told, cost_usd, reported = block(rnd)
        meant = dimensions(told, convention)
        if not reported and not cost_usd:
            continue
        quote = pricer.price(event(subject, meant), NOW)
        assert (quote.status, quote.cost_picousd) == ("priced", round(cost_usd * PICO)), (told, meant)
        tokens = sum(int(meant.get(whole, 0)) for whole in ("input_tokens", "output_tokens"))
        assert tokens == reported, (told, meant)
