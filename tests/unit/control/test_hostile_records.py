"""Whatever stands in the control topic, the state goes on, and every key can still be changed."""

import json

import pytest
from tests.property.hostile_records import hostile_wholes

from tollgate.control.change import new_change, plan
from tollgate.control.state import State
from tollgate.schemas.control import VERSION_MAX, BudgetRecord
from tollgate.schemas.topics import Topic

KEY = "budget/global:month:usd"
GOOD = {"scope": "global", "limit": "1", "updated_at": "2026-11-21T10:00:00Z"}
VERSIONS = (None, b"", b"-1", b"9" * 16, b"9" * 30, "٣".encode(), b"\xff")


@pytest.mark.parametrize("key", [KEY, "token/0123456789abcdef", "request/0a", "price/x", "", "\ufffd", "budget/"])
def test_no_record_stops_the_state(key: str) -> None:
    state = State()
    for version in VERSIONS:
        for value in (
            *hostile_wholes(),
            b'{"scope": "global", "limit": "1", "updated_at": "2026-11-21T10:00:00Z"}',
            None,
        ):
            state.take(key, value, (("version", version), ("audit", None)))
            state.over(2**62)
    assert key not in state.held


@pytest.mark.parametrize("version", [*VERSIONS, str(VERSION_MAX).encode()])
def test_a_key_can_be_changed_after_whatever_was_written_to_it(version: bytes | None) -> None:
    for value in (b"rubbish", json.dumps(GOOD | {"version": VERSION_MAX}).encode(), None):
        state = State()
        state.take(KEY, value, (("version", version),))
        change = new_change(
            "c", KEY, {"scope": "global", "limit": "2"}, actor="a", reason="", expect_version=None,
            idempotency_key="", request=None,
        )  # fmt: skip
        (written,) = (record for record in plan(state, change, 0).records if record.topic is Topic.CONTROL)
        assert BudgetRecord.model_validate_json(written.value or b"").limit == "2"
