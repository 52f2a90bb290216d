"""Tests of the harness: a fault counts only when it happened where it was meant to, and no difference is lost."""

import asyncio
import sys
from pathlib import Path

import pytest
from tests.chaos.process_faults import Action, comes_to, start_towards
from tests.chaos.roles import RoleProcess
from tests.chaos.run import Outcome, bring_about
from tests.chaos.schedule import Deed
from tests.chaos.victim import Victim, becomes
from tests.chaos.world import NotMetError, Plan, World
from tests.support.slack_server import SlackServer

from tollgate.runtime.settings import load_settings

_POINT = "transaction.sent"
_PASSES = (
    "import os, time\n"
    "from tollgate.ledger import fault_points\n"
    "reached = fault_points(os.environ['TOLLGATE_FAULT_POINTS'])\n"
)


class Scripted(RoleProcess):
    """A process with a worker's fault points, which ends as its script says."""

    def __init__(self, script: str, directory: Path) -> None:
        super().__init__("worker", load_settings(), directory, "worker-0")
        self.script = script

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.script]


def comes(script: str, action: Action, directory: Path) -> bool:
    """Whether a process with that script counts as one that came to the point for the second time."""
    worker = Scripted(_PASSES + script, directory)
    start_towards(worker, _POINT, 2, action)
    try:
        return asyncio.run(comes_to(worker, _POINT, 2, action, 20))
    finally:
        worker.kill()


_TWICE = f"reached('{_POINT}')\nreached('{_POINT}')\ntime.sleep(60)"
_ONCE = f"reached('{_POINT}')\n"


@pytest.mark.parametrize("action", ["kill", "stop"])
def test_a_worker_that_ends_at_its_point_has_come_to_it(action: Action, tmp_path: Path) -> None:
    assert comes(_TWICE, action, tmp_path)


@pytest.mark.parametrize("action", ["kill", "stop"])
@pytest.mark.parametrize("end", ["raise SystemExit(70)", "os.kill(os.getpid(), 9)"])
def test_a_worker_that_ends_elsewhere_has_not(action: Action, end: str, tmp_path: Path) -> None:
    assert not comes(_ONCE + end, action, tmp_path)


def test_an_earlier_process_that_came_to_the_point_does_not_count_for_the_next(tmp_path: Path) -> None:
    assert comes(_TWICE, "kill", tmp_path)
    assert not comes(_ONCE, "kill", tmp_path)


def test_a_mistake_within_a_fault_is_wrong_and_one_that_was_not_met_is_told_and_not_counted(tmp_path: Path) -> None:
    said: list[str] = []
    world = World(Plan(seed=1), tmp_path, SlackServer(), said.append, own_disks=False)
    deed = Deed(7, "kill worker", wait_seconds=0, calm=False, choice=0, amount=0)
    outcome = Outcome()

    async def fails(_world: World, _deed: Deed) -> None:
        raise AssertionError("worker-1 ended with 3")

    async def not_met(_world: World, _deed: Deed) -> None:
        raise NotMetError("it does not run")

    async def succeeds(_world: World, _deed: Deed) -> None:
        pass

    async def all_three() -> None:
        for strike in (fails, not_met, succeeds):
            await bring_about(strike, world, deed, outcome)

    asyncio.run(all_three())
    (wrong,) = outcome.wrong
    assert wrong.startswith("7 kill worker: Traceback")
    assert "in fails" in wrong
    assert "worker-1 ended with 3" in wrong
    assert outcome.not_met == ["7 kill worker: it does not run"]
    assert world.faults == {"kill worker": 1}


class Sleeper(Victim):
    """A process that ends with 7 when the file `go` is there."""

    def command(self) -> list[str]:
        wait = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nraise SystemExit(7)"
        return [sys.executable, "-c", wait]

    async def ready(self) -> bool:
        return self.alive


def test_one_that_died_just_before_the_end_is_told_by_its_status(tmp_path: Path) -> None:
    sleeper = Sleeper("sleeper", tmp_path)
    assert sleeper.stop() == 0, "it never ran"
    sleeper.start()
    (tmp_path / "go").touch()
    assert asyncio.run(becomes(lambda: not sleeper.alive, 20))
    assert sleeper.stop() == 7
    assert sleeper.stop() == 0, "it was told once"
