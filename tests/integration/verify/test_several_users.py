"""The same source and id under two users: counted for each, told, and no difference."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.usage import event
from tests.support.worker import send, working

from tollgate.runtime.kafka import read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import Topic
from tollgate.verification import verify

pytestmark = pytest.mark.integration

FIRST, *OTHERS = (f"u{n}" for n in range(100))
NEAR = next(user for user in OTHERS if partition_of(user.encode(), 8) == partition_of(FIRST.encode(), 8))
FAR = next(user for user in OTHERS if partition_of(user.encode(), 8) != partition_of(FIRST.encode(), 8))


async def test_an_identity_of_two_users_is_told_where_it_is_seen(settings: Settings, tmp_path: Path) -> None:
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    with working(settings, tmp_path / "worker.log"):
        for user in (FIRST, FAR, NEAR):
            await send(settings, [event("call-1", user, time=time), event(f"{user}-2", user, time=time)])
        report = await verify(settings, 60, clickhouse=False, progress=lambda _what, _done, _total: None)
    assert report.ok, report.as_json()
    # The user of the same partition is refused: the worker saw the id of the other one.
    letters = [record async for record in read_to_end(settings, settings.topic(Topic.DEAD_LETTERS))]
    assert [(record.key, dict(record.headers)["reason"]) for record in letters] == [(NEAR.encode(), b"conflict")]
    assert b"for another user" in dict(letters[0].headers)["error"]
    # The user of another partition is counted too.
    assert (report.events, report.cost_usd) == (5, "0.0175")
    found = report.as_json()["identities_of_several_users"]
    assert found["count"] == 1
    (example,) = found["examples"]
    assert (example["source"], example["id"]) == ("tests", "call-1")
    assert {told["user"] for told in example["events"]} == {FIRST, FAR}
    assert "1 identities" in report.several_users.lines()[0]
