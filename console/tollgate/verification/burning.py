"""Credits that events burn: their product tokens, which are counted in the usage dimension `credits`."""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from tollgate.schemas.usage_codec import EventData, EventRecord
from tollgate.verification.sums import AMOUNT_DECIMALS, scaled

CREDITS: Final = "credits"
# Among the sums of events, what they burned; a name that no sender can give a usage dimension.
BURNED: Final = "credits burned"


def burned_nano(data: EventData) -> int:
    """What an event burns, in 10⁻⁹ credits: nothing when the call failed and is not billed."""
    given = data.retail_tokens
    if given is None or (data.status != "success" and not data.billed):
        return 0
    return scaled(str(given), AMOUNT_DECIMALS)


def usage_of(data: EventData) -> Mapping[str, int | str]:
    """The event's usage as it was sent, with what it burns."""
    if data.retail_tokens is None or not burned_nano(data):
        return data.usage
    return data.usage | {BURNED: data.retail_tokens}


def as_summed(event: EventRecord, offset: int, credits_from: int) -> EventRecord:
    """The event as sums have it: what was counted below the offset was counted without credits."""
    if offset >= credits_from or event.data.retail_tokens is None:
        return event
    return replace(event, data=replace(event.data, retail_tokens=None))


def scaled_usage(data: EventData) -> dict[str, int]:
    """`usage_of` in 10⁻⁹ units."""
    return {dimension: scaled(str(amount), AMOUNT_DECIMALS) for dimension, amount in usage_of(data).items()}


def kept(usage: dict[str, int]) -> dict[str, int]:
    """The usage as scopes keep it: a sender's own `credits` are not added to what was burned."""
    if CREDITS not in usage and BURNED not in usage:
        return usage
    found = {dimension: amount for dimension, amount in usage.items() if dimension not in (CREDITS, BURNED)}
    if BURNED in usage:
        found[CREDITS] = usage[BURNED]
    return found
