"""What an event is said to burn, by when it was counted."""

from tollgate.schemas.usage_codec import EventData, EventRecord
from tollgate.verification.burning import BURNED, as_summed, usage_of

EVENT = EventRecord(
    specversion="1.0",
    type="tollgate.usage.v1",
    source="chat",
    id="e1",
    subject="u1",
    time="2026-11-21T10:00:00Z",
    data=EventData(provider="openai", model="gpt-4o", retail_tokens=5, usage={"images": 1}),
)


def test_an_event_that_was_counted_before_credits_were_burns_none() -> None:
    assert usage_of(as_summed(EVENT, 7, credits_from=7).data) == {"images": 1, BURNED: 5}
    assert usage_of(as_summed(EVENT, 6, credits_from=7).data) == {"images": 1}
    assert EVENT.data.retail_tokens == 5
