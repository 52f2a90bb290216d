"""ClickHouse away, silent, slow, or refusing: an error that says so, soon, and never a number."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from tests.integration.clickhouse.door import Door
from tests.integration.numbers.test_restriction import ASKED
from tests.integration.numbers.test_sums import NOVEMBER, at
from tests.waiting import eventually

from tollgate.console.numbers import EVERYTHING, Numbers, ReportFormat, TooLargeError, UnavailableError, report_keys
from tollgate.console.numbers.questions import PAUSE_SECONDS, SECONDS_MAX, Questions
from tollgate.runtime.settings import Settings

pytestmark = pytest.mark.integration

METHODS: dict[str, Callable[[Numbers], Awaitable[Any]]] = {
    **{name: lambda n, ask=ask: ask(n, EVERYTHING) for name, ask in ASKED.items()},  # type: ignore[misc]
    "flags_history": lambda n: n.flags_history(),
    "alerts_history": lambda n: n.alerts_history(),
    "audit": lambda n: n.audit(),
    "dead_letters": lambda n: n.dead_letters(),
    "written_to": lambda n: n.written_to(),
}


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
async def away(filled: Settings) -> AsyncIterator[Numbers]:
    """Numbers of a ClickHouse where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    made = Numbers(filled.model_copy(update={"clickhouse_url": f"http://127.0.0.1:{port}"}))
    yield made
    await made.stop()


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_says_that_clickhouse_is_away(away: Numbers, method: str) -> None:
    with pytest.raises(UnavailableError, match="ClickHouse"):
        await METHODS[method](away)


async def test_after_the_first_failure_nobody_waits_for_a_server_that_is_silent(silent: str, filled: Settings) -> None:
    numbers = Numbers(filled.model_copy(update={"clickhouse_url": silent}))
    began = time.monotonic()
    first = await asyncio.gather(
        *(numbers.daily(EVERYTHING, at("11-01"), at("11-02") + day) for day in range(20)), return_exceptions=True
    )
    assert all(isinstance(error, UnavailableError) for error in first)
    assert time.monotonic() - began < 2 * SECONDS_MAX
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(UnavailableError):
            await numbers.daily(EVERYTHING, at("11-01"), at("11-02"))
    assert time.monotonic() - began < PAUSE_SECONDS
    await numbers.stop()


async def test_clickhouse_is_asked_again_when_it_is_back(clickhouse: str, filled: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    numbers = Numbers(filled.model_copy(update={"clickhouse_url": f"http://127.0.0.1:{port}"}))
    with pytest.raises(UnavailableError):
        await numbers.daily(EVERYTHING, *NOVEMBER)

    async def answers() -> bool:
        with contextlib.suppress(UnavailableError):
            return (await numbers.daily(EVERYTHING, *NOVEMBER)).items[0].cost_usd == "4.5"
        return False

    with Door(clickhouse, port):
        await eventually(answers, 10)
        await numbers.stop()


async def test_a_question_that_takes_too_long_ends_and_others_go_on(filled: Settings) -> None:
    questions = Questions(filled)
    slow = "SELECT sum(sleepEachRow(0.5)) FROM numbers(100) SETTINGS max_block_size = 1"
    with pytest.raises(UnavailableError, match="did not answer in time"):
        await questions.rows(slow, {}, seconds_max=1)
    assert await questions.rows("SELECT 1", {}) == [[1]]
    await questions.stop()


async def test_an_answer_of_too_many_rows_is_refused(filled: Settings) -> None:
    questions = Questions(filled)
    with pytest.raises(TooLargeError, match="too many rows"):
        await questions.rows("SELECT number FROM numbers(20001)", {})
    assert len(await questions.rows("SELECT number FROM numbers(20000)", {})) == 20000
    await questions.stop()


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO flag_records (scope) VALUES ('x')",
        "DROP TABLE usage_events",
        "ALTER TABLE usage_events DELETE WHERE true",
        "CREATE TABLE x (a Int8) ENGINE = Memory",
        "SELECT 1 SETTINGS readonly = 0",
        "SET readonly = 0",
    ],
)
async def test_no_question_changes_anything(filled: Settings, client: Client, statement: str) -> None:
    questions = Questions(filled)
    with pytest.raises((UnavailableError, TooLargeError)):
        await questions.rows(statement, {})
    assert client.query("SELECT count() FROM flag_records").result_rows == [(0,)]
    await questions.stop()


async def test_a_report_that_breaks_off_is_an_error_and_no_end(filled: Settings) -> None:
    questions = Questions(filled)
    # Enough that the answer has begun when the division fails.
    sql = "SELECT number, repeat('x', 1000), intDiv(1, number - 500000) FROM numbers(1000000)"
    rows = 0
    with pytest.raises((UnavailableError, TooLargeError)):  # noqa: PT012 # the error comes in the midst
        async for part in questions.stream(f"{sql} SETTINGS max_block_size = 1000", {}):
            rows += len(part)
    assert rows > 0
    await questions.stop()


async def test_a_report_that_nobody_reads_on_gives_its_turn_back(filled: Settings) -> None:
    numbers = Numbers(filled)
    for _ in range(5):
        parts = numbers.export(EVERYTHING, report_keys(["event"]), *NOVEMBER, ReportFormat.CSV)
        await anext(parts)
        await parts.aclose()  # type: ignore[attr-defined]
    whole = numbers.export(EVERYTHING, report_keys(["day"]), *NOVEMBER, ReportFormat.CSV)
    assert [part async for part in whole]
    await numbers.stop()
