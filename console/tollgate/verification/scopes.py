"""The scopes and the usage of an event, by rules of the verification's own."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from tollgate.schemas.usage_codec import EventData, EventRecord

# The dimensions besides the user, in two halves: see `totals`.
DIMENSIONS: Final = (("org", "service", "provider", "model"), ("agent", "campaign", "feature", "product"))

# Product tokens. What a sender reports under this name is another unit.
CREDITS: Final = "credits"

_LOOKS_COMBINED: Final = re.compile(
    r"(\+|%(?:25)*2B)(?=(?:user|org|service|provider|model|agent|campaign|feature|product)/)"
)


def scope_of(dimension: str, name: str) -> str:
    """`user/u1`. A name that looks like a combination has its plus escaped: `u1+model/x` → `user/u1%2Bmodel/x`."""
    return f"{dimension}/{_LOOKS_COMBINED.sub(lambda found: '%2B' if found[1] == '+' else f'%25{found[1][1:]}', name)}"


def scopes_of(event: EventRecord) -> Iterator[str]:
    """Every scope of at most one name that the event is counted for."""
    yield "global"
    yield scope_of("user", event.subject)
    for dimension in (*DIMENSIONS[0], *DIMENSIONS[1]):
        name = getattr(event.data, dimension)
        if name:
            yield scope_of(dimension, name)


def usage_of(data: EventData) -> Mapping[str, int | str]:
    """What is counted: the usage that was reported, and the product tokens of a call that is billed."""
    if data.retail_tokens is None and CREDITS not in data.usage:
        return data.usage
    usage = {dimension: amount for dimension, amount in data.usage.items() if dimension != CREDITS}
    if data.retail_tokens is not None and (data.status == "success" or data.billed):
        usage[CREDITS] = data.retail_tokens
    return usage
