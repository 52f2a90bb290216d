"""Who shares an answer, how old it may be, and what becomes of questions that nobody waits for or that fail."""

import asyncio

import pytest

from tollgate.console.numbers.sharing import ANSWERS_MAX, SharedAnswers


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Answers with the number of the question, when it is let."""

    def __init__(self) -> None:
        self.asked = self.cancelled = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.fails = False

    async def ask(self) -> int:
        self.asked += 1
        number = self.asked
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fails:
            raise ValueError("away")
        return number


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_at_the_same_time_shares_one_answer_and_so_does_who_asks_soon_after() -> None:
    clock, source = Clock(), Source()
    shared = SharedAnswers(clock)
    assert await asyncio.gather(*(shared.get("key", source.ask) for _ in range(10))) == [1] * 10
    clock.now += 1.5
    assert await shared.get("key", source.ask) == 1
    assert await shared.get("other", source.ask) == 2


async def test_an_older_answer_is_given_at_once_and_followed_by_a_newer_one() -> None:
    clock, source = Clock(), Source()
    shared = SharedAnswers(clock)
    assert await shared.get("key", source.ask) == 1
    clock.now += 1.6
    source.may_answer.clear()
    assert [await shared.get("key", source.ask) for _ in range(3)] == [1, 1, 1]
    await turns()
    assert source.asked == 2
    source.may_answer.set()
    await turns()
    assert await shared.get("key", source.ask) == 2
    # The newer answer's own age counts.
    clock.now += 1.5
    assert (await shared.get("key", source.ask), source.asked) == (2, 2)


async def test_an_answer_of_more_than_four_seconds_is_given_to_nobody() -> None:
    clock, source = Clock(), Source()
    shared = SharedAnswers(clock)
    assert await shared.get("key", source.ask) == 1
    clock.now += 4.1
    assert await shared.get("key", source.ask) == 2


async def with_a_newer_one_asked_for() -> tuple[Clock, Source, SharedAnswers]:
    """An answer two seconds old that was given once more, and a newer one that does not come yet."""
    clock, source = Clock(), Source()
    shared = SharedAnswers(clock)
    assert await shared.get("key", source.ask) == 1
    clock.now += 2
    source.may_answer.clear()
    assert await shared.get("key", source.ask) == 1
    return clock, source, shared


async def test_a_newer_answer_that_takes_long_is_waited_for_and_not_asked_for_again() -> None:
    clock, source, shared = await with_a_newer_one_asked_for()
    clock.now += 3
    late = [asyncio.create_task(shared.get("key", source.ask)) for _ in range(2)]
    await turns()
    assert source.asked == 2
    source.may_answer.set()
    assert await asyncio.gather(*late) == [2, 2]
    assert (await shared.get("key", source.ask), source.asked) == (2, 2)


async def test_a_newer_question_that_fails_ends_the_old_answer() -> None:
    clock, source = Clock(), Source()
    shared = SharedAnswers(clock)
    assert await shared.get("key", source.ask) == 1
    clock.now += 2
    source.fails = True
    assert await shared.get("key", source.ask) == 1
    await turns()
    with pytest.raises(ValueError, match="away"):
        await shared.get("key", source.ask)
    source.fails = False
    assert await shared.get("key", source.ask) == 4


async def test_a_question_ends_with_the_last_who_waits_for_it() -> None:
    source = Source()
    source.may_answer.clear()
    shared = SharedAnswers(Clock())
    first, second = (asyncio.create_task(shared.get("key", source.ask)) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    assert source.cancelled == 0
    second.cancel()
    await turns()
    assert (source.asked, source.cancelled) == (1, 1)
    source.may_answer.set()
    assert await shared.get("key", source.ask) == 2


async def test_stopping_cancels_what_was_asked_ahead() -> None:
    _, source, shared = await with_a_newer_one_asked_for()
    await turns()
    await shared.stop()
    assert source.cancelled == 1


async def test_only_so_many_answers_are_kept() -> None:
    source = Source()
    shared = SharedAnswers(Clock())
    for key in range(ANSWERS_MAX + 1):
        await shared.get(key, source.ask)
    assert await shared.get(ANSWERS_MAX, source.ask) == ANSWERS_MAX + 1
    assert await shared.get(0, source.ask) == ANSWERS_MAX + 2
