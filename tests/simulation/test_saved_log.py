"""A worker starts on what an earlier release left in its topics, and goes on with the right sums."""

import json

import pytest
from tests.simulation.saved_log import DELTAS, RELEASE_0_1, USAGE, Installation, paid
from tests.support.cores import CORES

from tollgate.ledger.core import Core
from tollgate.schemas.topics import Topic

# By window in dollars and events. The saved story's costs are 1, 0.0035, 2, 4, 8, 16, 32, and 0.21 of a model without a
# price; the test adds 64 at 11:10.
SUMS = {
    # 1 + 2 + 4 + 16 + 32 + 64; in September 1 + 4; of the 4 no hour was held.
    "user/u1|lifetime|1970-01-01T00:00:00Z": ("119", 6),
    "user/u1|month|2026-11-01T00:00:00Z": ("114", 4),
    "user/u1|month|2026-09-01T00:00:00Z": ("5", 2),
    "user/u1|day|2026-11-21T00:00:00Z": ("98", 3),
    "user/u1|day|2026-11-18T00:00:00Z": ("16", 1),
    "user/u1|day|2026-09-30T00:00:00Z": ("4", 1),
    "user/u1|day|2026-09-25T00:00:00Z": ("1", 1),
    "user/u1|hour|2026-11-21T11:00:00Z": ("64", 1),
    "user/u1|hour|2026-11-21T10:00:00Z": ("32", 1),
    "user/u1|hour|2026-11-21T08:00:00Z": ("2", 1),
    # 0.0035 + 8 + 0.21: the 8 are of a time that only lifetime holds.
    "user/u2|lifetime|1970-01-01T00:00:00Z": ("8.2135", 3),
    "user/u2|month|2026-11-01T00:00:00Z": ("0.21", 1),
    "user/u2|month|2026-09-01T00:00:00Z": ("0.0035", 1),
    "agent/SEO|lifetime|1970-01-01T00:00:00Z": ("127", 7),
    "agent/SEO|month|2026-11-01T00:00:00Z": ("114", 4),
    "agent/SEO|month|2026-09-01T00:00:00Z": ("5", 2),
    "agent/SEO|day|2026-11-21T00:00:00Z": ("98", 3),
    "agent/SEO|hour|2026-11-21T11:00:00Z": ("64", 1),
    # Its hour was held when it was counted, and no more at the clock that its delta came with.
    "agent/SEO|hour|2026-11-18T09:00:00Z": ("16", 1),
    "org/acme|lifetime|1970-01-01T00:00:00Z": ("99", 4),
    "org/acme|month|2026-11-01T00:00:00Z": ("98", 3),
    "global|lifetime|1970-01-01T00:00:00Z": ("127.2135", 9),
    "global|month|2026-11-01T00:00:00Z": ("114.21", 5),
    "global|day|2026-11-21T00:00:00Z": ("98.21", 4),
    "global|hour|2026-11-21T11:00:00Z": ("64", 1),
    "global|hour|2026-11-21T10:00:00Z": ("32.21", 2),
    "global|hour|2026-11-18T09:00:00Z": ("16", 1),
}


@pytest.fixture(params=CORES)
def core(request: pytest.FixtureRequest) -> Core:
    """Either core goes on."""
    chosen: Core = request.param
    return chosen


async def test_a_worker_goes_on_from_a_log_of_release_0_1(core: Core) -> None:
    world = Installation("2026-11-21T11:30:00Z", core)
    world.load(RELEASE_0_1.read_text().splitlines())
    engine = await world.worker()
    world.publish(
        # Counted by that release already.
        paid("e3", "u1", "2", "2026-11-21T08:20:00Z", agent="SEO", org="acme"),
        paid("e9", "u1", "64", "2026-11-21T11:10:00Z", agent="SEO", org="acme"),
    )
    await world.count(engine, USAGE, *DELTAS)
    assert (engine.counters.counted, engine.counters.duplicates) == (1, 1)
    spend = world.newest(Topic.SPEND)
    assert {key: (spend[key]["spent_usd"], spend[key]["events"]) for key in SUMS} == SUMS
    assert [key for key in spend if "|hour|2026-09-30" in key or "|2024-" in key] == []
    # Blocked at 50 of 10 USD before, and 114 now: the next revision of the same flag.
    flag = world.newest(Topic.FLAGS)["user/u1"]
    assert (flag["state"], flag["spent"], flag["revision"], flag["since"]) == (
        "blocked", "114", 2, "2026-11-21T10:30:00Z",
    )  # fmt: skip
    offset_rows = [r.value for r in world.broker.committed((Topic.USER_STATE, 0)) if r.key == b"o"]
    row = json.loads(offset_rows[-1])
    assert row["credits_from"] == 8
    assert row["next"] == 10
