"""Shared by all parts of the demo: the screen, the stack's settings, budgets, and how to show an alert."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from tollgate.cli.exits import UnreachableError
from tollgate.demo import Outputs, Screen
from tollgate.domain.windows import window_start
from tollgate.runtime.settings import Settings
from tollgate.schemas.amounts import format_usd
from tollgate.schemas.control import BudgetRecord, ThresholdsRecord
from tollgate.schemas.instants import format_instant
from tollgate.schemas.shown_text import shell_command
from tollgate.schemas.vocabulary import WindowKind
from tollgate.sinks.alerts import Alert, render_text
from tollgate.sinks.clickhouse import SinkError, connect


@dataclass(frozen=True, slots=True)
class Stage:
    """The demo's screen and settings. `program` and `options` are how the user calls this program."""

    screen: Screen
    settings: Settings
    program: str
    options: tuple[str, ...] = ()

    def command(self, *words: str) -> str:
        """A command line for this stack, to be copied as it is."""
        return shell_command(self.program, *words, *self.options)

    @asynccontextmanager
    async def clickhouse(self) -> AsyncIterator[Client]:
        """A client, closed at the end. UnreachableError."""
        try:
            client = await asyncio.to_thread(connect, self.settings)
        except SinkError as error:
            raise UnreachableError(f"{error}: see `tollgate doctor`.") from None
        try:
            yield client
        finally:
            client.close()

    def show_alert(self, alert: Alert) -> None:
        """The message for people, as the alert sink makes it from this record."""
        settings = self.settings
        if settings.slack_webhook_url or (settings.slack_bot_token and settings.slack_channel):
            how = "posted by the alert sink, and edited as it changes"
        else:
            how = "preview; set TOLLGATE_SLACK_BOT_TOKEN and TOLLGATE_SLACK_CHANNEL to post it"
        self.screen.line("Slack", f"({how})")
        self.screen.block(render_text(alert).splitlines(), "| ")


def spent_now(outputs: Outputs, scope: str, window: WindowKind) -> int:
    """What the scope has spent in the window of now, in 10⁻¹² USD."""
    start = format_instant(window_start(window, time.time_ns() // 1_000_000))
    return outputs.spent(scope, window.value, start).cost_picousd


def budget_of(scope: str, limit_picousd: int, window: WindowKind, thresholds: ThresholdsRecord) -> BudgetRecord:
    """A budget in dollars, in UTC, as of now."""
    return BudgetRecord(
        scope=scope,
        limit=format_usd(limit_picousd),
        unit="usd",
        window=window,
        thresholds=thresholds,
        updated_at=format_instant(time.time_ns() // 1_000_000),
    )
