"""A service may wait for its limits before its first check."""

from pathlib import Path

from tollgate.sdk import AsyncTollgate, Tollgate
from tollgate.sdk.testing import RecordingTollgate

# Nothing listens at the discard port of this host.
AWAY = "127.0.0.1:9"


def test_limits_that_cannot_be_read_in_time_are_not_ready_and_calls_go_on(tmp_path: Path) -> None:
    with Tollgate(AWAY, source="tests", spool_dir=tmp_path) as toll:
        assert not toll.ready(0.05)
        assert toll.check(user="u1").allowed


async def test_a_service_that_awaits_is_told_the_same(tmp_path: Path) -> None:
    async with AsyncTollgate(AWAY, source="tests", spool_dir=tmp_path) as toll:
        assert not await toll.ready(0.05)
        assert toll.check(user="u1").allowed


def test_the_fake_is_always_ready() -> None:
    assert RecordingTollgate().ready()
