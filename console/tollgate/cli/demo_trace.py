"""The demo with a recorded trace of a language model's calls in place of the invented month."""

import asyncio
import time
from pathlib import Path
from typing import Final

from tollgate.cli.budgets import write_budget
from tollgate.cli.csv_events import CsvMapping, CsvReader
from tollgate.cli.demo_stage import Stage
from tollgate.cli.exits import AnswerIsNoError, UnreachableError
from tollgate.cli.file_events import Accepted
from tollgate.cli.verify import print_report
from tollgate.demo import Outputs, Total, clickhouse_total, until
from tollgate.runtime.topic_writing import open_writer
from tollgate.schemas.amounts import parse_usd
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.instants import format_instant
from tollgate.schemas.shown_text import safe
from tollgate.schemas.topics import Topic
from tollgate.schemas.vocabulary import WindowKind
from tollgate.sdk import FlagReader, UnavailableError
from tollgate.verification import verify

USER: Final = "trace"
SCOPE: Final = f"user/{USER}"
LIMIT_USD: Final = "20"
# The columns of the Azure LLM inference traces of 2023.
COLUMNS: Final = (
    "time=TIMESTAMP",
    "usage.input_tokens=ContextTokens",
    "usage.output_tokens=GeneratedTokens",
)
CONSTANTS: Final = (f"subject={USER}", "provider=openai", "model=gpt-4o")

_COUNTED_SECONDS_MAX: Final = 60
_ALERT_SECONDS_MAX: Final = 20
_VERIFY_SECONDS_MAX: Final = 30
_LOOK_AGAIN_SECONDS: Final = 0.2


async def play_trace(stage: Stage, trace: Path) -> None:
    """Publish the file so that its last event is now, and show what it costs, blocks and proves.

    AnswerIsNoError when a line was refused or the verification fails; UnreachableError.
    """
    screen = stage.screen
    budget = BudgetRecord(
        scope=SCOPE,
        limit=LIMIT_USD,
        unit="usd",
        window=WindowKind.MONTH,
        updated_at=format_instant(time.time_ns() // 1_000_000),
    )
    await write_budget(stage.settings, budget, "demo", "so that the trace crosses it")
    screen.line("budget", f"{SCOPE} {LIMIT_USD} USD a month")
    started = time.monotonic()
    published, refused = await _publish(stage, trace)
    seconds = time.monotonic() - started
    screen.line(
        "trace", f"{published:,} events published in {seconds:.1f} s as {USER}, openai/gpt-4o, the last one now"
    )
    async with Outputs(stage.settings) as outputs:
        said, found = await _counted(stage, outputs, published)
        screen.line("", f"Kafka says       {said}, the sum of its months")
        screen.line("", f"ClickHouse says  {found}, {'equal' if said == found else 'DIFFERENT'}")
        await _show_flag(stage, outputs)
    await _verify(stage)
    if refused:
        raise AnswerIsNoError(f"{refused:,} lines of the trace were refused: see them with `tollgate publish --csv`.")


async def _publish(stage: Stage, trace: Path) -> tuple[int, int]:
    reader = CsvReader(CsvMapping.parse(COLUMNS, CONSTANTS))
    with trace.open("rb") as file:
        last_ms = max((found.time_ms for found in reader.read(file) if isinstance(found, Accepted)), default=0)
        if not last_ms:
            raise AnswerIsNoError(f"{trace} has no row that is a call.")
        file.seek(0)
        published = refused = 0
        async with open_writer(stage.settings, Topic.USAGE) as writer:
            for found in reader.read(file, time.time_ns() // 1_000_000 - last_ms):
                if isinstance(found, Accepted):
                    await writer.write(found.user.encode(), found.value)
                    published += 1
                else:
                    refused += 1
    return published, refused


async def _counted(stage: Stage, outputs: Outputs, published: int) -> tuple[Total, Total]:
    """What Kafka and ClickHouse say of the user, once both have at least what was published and say the same."""
    deadline = time.monotonic() + _COUNTED_SECONDS_MAX
    async with stage.clickhouse() as client:
        while True:
            said = outputs.spent_in_all(SCOPE, WindowKind.MONTH.value)
            found = await clickhouse_total(client, "user = %(user)s", user=USER)
            if said == found and said.events >= published:
                return said, found
            if time.monotonic() > deadline:
                return said, found
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _show_flag(stage: Stage, outputs: Outputs) -> None:
    screen = stage.screen
    prefix = stage.settings.topic_prefix
    try:
        async with FlagReader(stage.settings.kafka_bootstrap_servers, topic_prefix=prefix) as flags:
            decision = flags.check(user=USER)
    except UnavailableError as error:
        raise UnreachableError(f"{error}: see `tollgate status`.") from None
    flag = decision.flag
    if flag is None:
        screen.line("flag", f"none: {SCOPE} is free")
        return
    answer = f"{decision.http_status} {decision.error}" if not decision.allowed else "calls go on"
    screen.line("flag", f"{flag.state.value.upper()}  {flag.spent} of {flag.limit} USD, {flag.percent} %")
    screen.line("", safe(f"{answer}, until {flag.until}"))

    def told() -> bool:
        alert = outputs.alert(SCOPE, WindowKind.MONTH.value)
        return alert is not None and alert.spent is not None and parse_usd(alert.spent) >= parse_usd(flag.spent or "0")

    await until(told, _ALERT_SECONDS_MAX)
    alert = outputs.alert(SCOPE, WindowKind.MONTH.value)
    if alert is not None:
        screen.gap()
        stage.show_alert(alert)


async def _verify(stage: Stage) -> None:
    stage.screen.gap()
    stage.screen.line("verify", "recomputing everything from the usage topic")
    report = await verify(
        stage.settings, _VERIFY_SECONDS_MAX, clickhouse=True, progress=lambda _what, _done, _total: None
    )
    print_report(report)
    if not report.ok:
        raise AnswerIsNoError("not everything is equal: see `tollgate verify`.")
