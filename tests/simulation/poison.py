"""Records that end a worker whenever it meets them: when it reads them, or when it writes what follows from them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
    """Within it, those who read usage and entries fail at records that are poison to read."""
    with ExitStack() as stack:
        for name in ("decoded", "decoded_entry"):
            failing = _failing(getattr(user_stage, name))
            for module in (user_stage, forward):
                stack.enter_context(patch.object(module, name, failing))
        yield


def _failing(decoded: Callable[[ConsumerRecord], Any]) -> Callable[[ConsumerRecord], Any]:
    def failing(record: ConsumerRecord) -> Any:
        if is_poison_to_read(record):
            raise ValueError("a defect that this record meets")
        return decoded(record)

    return failing
