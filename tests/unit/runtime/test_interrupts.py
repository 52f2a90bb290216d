"""Ctrl-C ends a command, also where a library has lost the cancellation."""

import asyncio
import contextlib
import os
import signal

import pytest

from tollgate.runtime import interrupts
from tollgate.runtime.interrupts import run


def press_ctrl_c() -> None:
    """As soon as the loop turns."""
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)


async def loses(cancellations: int) -> list[str]:
    """Goes on for as many cancellations as these."""
    press_ctrl_c()
    for _ in range(cancellations):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
    await asyncio.sleep(30)
    return ["went on"]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "AGAIN_SECONDS", 0.01)


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_a_cancellation_that_is_lost_is_repeated(lost: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(loses(lost))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_ends_by_itself_answers_as_ever() -> None:
    async def answer() -> int:
        return 7

    async def fail() -> None:
        raise ValueError("no")

    async def cancelled() -> None:
        raise asyncio.CancelledError

    assert run(answer()) == 7
    with pytest.raises(ValueError, match="no"):
        run(fail())
    with pytest.raises(asyncio.CancelledError):
        run(cancelled())


def test_the_end_of_what_was_cancelled_may_answer() -> None:
    async def saves() -> str:
        press_ctrl_c()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        return "saved"

    assert run(saves()) == "saved"
