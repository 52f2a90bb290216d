"""The remembered parts of times give what parsing gives."""

import os
import random
from collections.abc import Callable

from hypothesis import given, seed, settings
from hypothesis import strategies as st
from tests.property.usage_event_inputs import times

from tollgate.schemas.event_time import event_time_ms, parse_event_time

SEED = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))
PARTS = st.tuples(
    st.sampled_from(
        ["2026-11-21T10", "1970-01-01T00", "1969-12-31T23", "9999-12-31T23", "2026-02-30T00", "2026-11-21t10"]
    ),
    st.sampled_from([":00:00", ":59:59", ":59:60", ":60:00", ":0:000"]),
    st.sampled_from(["", ".1", ".12", ".123", ".1234", ".999999", ".", ".12a"]),
    st.sampled_from(["", "Z", "z", "+00:00", "+05:30", "-23:59", "+24:00", "+1:000", "ZZ"]),
)


def outcome(read: Callable[[str], int], text: str) -> int | str:
    """The milliseconds, or what is wrong."""
    try:
        return read(text)
    except ValueError as error:
        return str(error)


@seed(SEED)
@settings(max_examples=1000, deadline=None, database=None, print_blob=True)
@given(text=times() | PARTS.map("".join))
def test_a_time_read_from_memory_is_the_time_that_was_parsed(text: str) -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}")
    assert outcome(event_time_ms, text) == outcome(parse_event_time, text)
    assert outcome(event_time_ms, text) == outcome(parse_event_time, text)
