"""Costs by run-time prices that held together and were removed since."""

from tests.unit.pricing.events import price_record

from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.schemas.usage_codec import EventData, EventRecord
from tollgate.verification.prices import Prices

TIME_MS = 1_795_255_200_000


def test_an_event_that_two_removed_prices_charged_together_is_recounted() -> None:
    records = [
        price_record({"video_seconds": "0.1"}),
        price_record({"sheep": "2"}, effective_from="2026-02-01T00:00:00Z"),
        price_record({"input_tokens": "5 per 1000000"}, model="gpt-4.1"),
    ]
    data = EventData(provider="openai", model="gpt-4o", usage={"video_seconds": 1, "sheep": 1, "output_tokens": 1000})
    event = EventRecord(
        specversion="1.0", type="tollgate.usage.v1", source="s", id="e", subject="u", time="2026-11-21T10:00:00Z",
        data=data, time_ms=TIME_MS,
    )  # fmt: skip
    counted = Pricer(load_price_book().with_prices(records)).price(data, TIME_MS)
    # 0.1 + 2 + 1,000 x 10 per million.
    assert (counted.cost_picousd, counted.status) == (2_110_000_000_000, "priced")
    prices = Prices("default", [], records)
    assert prices.by_id(event, counted.price_id, counted.cost_picousd) == counted
    assert prices.by_id(event, counted.price_id + "x", counted.cost_picousd) is None
