"""A provider on this machine, and what was recorded of it."""

import os
import random
from collections.abc import Iterator

import pytest
from tests.support.provider_server import ProviderServer

SEED = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    print(f"TOLLGATE_TEST_SEED={SEED}")
    with ProviderServer(SEED) as server:
        yield server
