"""The sink takes every record that the schemas' own examples call valid."""

import json
from pathlib import Path

import pytest
from tests.integration.clickhouse.stream import Outgoing, everything_committed, publish, query, sink

from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic

pytestmark = pytest.mark.integration

VALID = Path(__file__).parents[3] / "schemas" / "examples" / "valid"

# Folder of examples: topic, how a key is made of the value, and the storage table.
KINDS = {
    "priced-event": (Topic.PRICED, "{user}", "usage_events"),
    "credit": (Topic.ENTRIES, "u-42", "entry_records"),
    "decision": (Topic.DECISIONS, "{number}", "decision_records"),
    "balance": (Topic.BALANCES, "{user}", "balance_records"),
    "plan": (Topic.CONTROL, "plan/{number}", "plan_records"),
    "assignment": (Topic.CONTROL, "assignment/user/{number}", "assignment_records"),
    "spend": (Topic.SPEND, "{scope}|{number}", "spend_records"),
    "flag": (Topic.FLAGS, "{scope}|{number}", "flag_records"),
    "alert": (Topic.ALERTS, "{key}|{number}", "alert_records"),
    "budget": (Topic.CONTROL, "budget/{number}", "budget_records"),
    "price": (Topic.CONTROL, "price/{number}", "price_records"),
    "audit": (Topic.AUDIT, "{key}", "audit_records"),
}


async def test_every_valid_example_becomes_a_row(tables: Settings) -> None:
    counts = dict.fromkeys(KINDS, 0)
    outgoing = []
    for kind, (topic, key, _) in KINDS.items():
        for number, path in enumerate(sorted((VALID / kind).iterdir())):
            value = path.read_bytes()
            filled = key.format(number=number, **{k: v for k, v in json.loads(value).items() if k != "number"})
            outgoing.append(Outgoing(topic, filled.encode(), value))
            counts[kind] += 1
    assert all(counts.values())
    await publish(tables, *outgoing)
    async with sink(tables):
        await everything_committed(tables)
    assert query(tables, "SELECT error FROM dead_letters") == []
    for kind, (_, _, table) in KINDS.items():
        rows = query(tables, f"SELECT count() FROM {table}")[0][0]
        # Two examples of one window or event are one row.
        assert 0 < rows <= counts[kind], kind
