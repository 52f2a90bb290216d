"""Records that end a worker whenever it meets them: when it reads them, or when it writes what follows from them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from aiokafka import ConsumerRecord
from tests.simulation.broker import POISON_TO_WRITE

from tollgate.ledger import forward, user_stage

HEADER = ("poison", b"to read")


def is_poison_to_read(record: ConsumerRecord) -> bool:
    """Whether no stage can read it."""
    return HEADER in record.headers


def is_poison_to_write(record: ConsumerRecord) -> bool:
    """Whether its priced event cannot be written."""
    return POISON_TO_WRITE in (record.value or b"")


@contextmanager
def poisonous() -> Iterator[None]:
    """Within it, those who read usage fail at records that are poison to read."""
    decoded = user_stage.decoded

    def failing(record: ConsumerRecord) -> Any:
        if is_poison_to_read(record):
            raise ValueError("a defect that this record meets")
        return decoded(record)

    with patch.object(user_stage, "decoded", failing), patch.object(forward, "decoded", failing):
        yield
