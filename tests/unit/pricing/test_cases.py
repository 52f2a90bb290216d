"""Calls that others reported, with what their providers billed; each case says how its figure follows."""

import json
from pathlib import Path
from typing import Any

import pytest

from tollgate.domain.pricing import Pricer
from tollgate.schemas.amounts import format_usd
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event

FOLDER = Path(__file__).parent / "cases"
CASES = [json.loads(line) for file in sorted(FOLDER.iterdir()) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_reported_call_costs_what_was_billed(pricer: Pricer, case: dict[str, Any]) -> None:
    envelope = {"specversion": "1.0", "type": "tollgate.usage.v1", "source": "s", "id": "i", "subject": "u"}
    event = decode_usage_event(json.dumps({**envelope, "time": case["time"], "data": case["data"]}).encode())
    assert isinstance(event, EventRecord), event
    quote = pricer.price(event.data, event.time_ms)
    assert quote.status == case["price_status"], case["how"]
    if case["cost_usd"] is None:
        assert quote.cost_picousd > 0
    else:
        assert format_usd(quote.cost_picousd) == case["cost_usd"], case["how"]
