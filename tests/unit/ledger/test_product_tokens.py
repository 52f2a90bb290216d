"""Product tokens of usage events, and records that only Python reads: they are counted or refused in their place."""

from typing import Any

import pytest
from tests.support.cores import CORES
from tests.support.usage import event
from tests.unit.ledger.test_users import USER, Bench, reasons, spend, values

from tollgate.schemas.topics import Topic


@pytest.fixture(autouse=True, params=CORES)
def _core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test holds for either core."""
    monkeypatch.setattr(Bench, "core", request.param)


@pytest.mark.parametrize(
    ("data", "burned"),
    [
        ({"retail_tokens": 5}, "5"),
        ({"retail_tokens": "0.5"}, "0.5"),
        ({"retail_tokens": 5, "status": "error", "billed": True}, "5"),
        # The sender's own unit of this name is not the product's.
        ({"retail_tokens": 5, "usage": {"input_tokens": 1, "credits": 7}}, "5"),
        ({"usage": {"input_tokens": 1, "credits": 7}}, None),
        ({"retail_tokens": 5, "status": "error"}, None),
        ({"retail_tokens": 0}, None),
        ({"retail_tokens": None}, None),
        ({}, None),
    ],
)
def test_the_product_tokens_of_a_billed_call_are_the_usage_dimension_credits(
    data: dict[str, Any], burned: str | None
) -> None:
    bench = Bench()
    bench.send(event("e1", USER, data=data))
    outbox = bench.write()
    for value in spend(outbox).values():
        assert value["usage"].get("credits") == burned
    given = data.get("usage", {}).get("credits")
    assert values(outbox, Topic.PRICED)[0]["usage"].get("credits") == given
    assert values(outbox, Topic.PRICED)[0].get("credits") == burned


def test_what_is_no_usage_event_is_judged_in_its_place() -> None:
    bench = Bench()
    other = event("r1", USER, type="tollgate.other.v1")
    bench.send(event("e1", USER), other, event("e1", USER, data={"org": "o"}))
    outbox = bench.write()
    assert [dict(headers)["source_offset"] for _, _, headers in outbox.records[Topic.DEAD_LETTERS, 0]] == [b"1", b"2"]
    assert reasons(outbox) == ["invalid", "conflict"]


def test_an_event_that_settles_a_reservation_is_counted_once() -> None:
    bench = Bench()
    settling = {"reservation_id": "r1"}
    bench.send(*(event("e1", USER, data=settling) for _ in range(2)), event("e2", USER))
    assert spend(bench.write())[f"user/{USER}|month|2026-11-01T00:00:00Z"]["events"] == 2
    assert bench.counters.duplicates == 1
