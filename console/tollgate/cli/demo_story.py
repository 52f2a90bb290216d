"""The demo's story: a month of history, budgets, live services, a block, plan limits, and what to try next."""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Final

import msgspec

from tollgate.cli.budget_reading import read_budgets
from tollgate.cli.budgets import write_budget
from tollgate.cli.changes import system_actor
from tollgate.cli.console_login import LOGIN_MINUTES, login_link
from tollgate.cli.demo_limits import tell_limits
from tollgate.cli.demo_stage import Stage, budget_of, spent_now
from tollgate.cli.exits import UnreachableError
from tollgate.demo import (
    DAYS,
    ID_PREFIX,
    OFFERS,
    OVERSPENDER,
    SERVICES,
    USERS,
    Clips,
    Crossing,
    Outputs,
    Service,
    Total,
    clickhouse_total,
    days_before,
    dollars,
    events_of,
    refused_others,
    until,
)
from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.runtime.topic_writing import open_writer
from tollgate.schemas.amounts import PICO, parse_usd
from tollgate.schemas.control import default_thresholds
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Action, Flag, FlagState
from tollgate.schemas.shown_text import safe, shell_word
from tollgate.schemas.tokens import Role
from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_codec import EventData
from tollgate.schemas.vocabulary import WindowKind
from tollgate.sdk import FlagReader, UnavailableError, UsagePublisher
from tollgate.sinks.alerts.figures import amount

_COUNTED_SECONDS_MAX: Final = 90
_BLOCKED_SECONDS_MAX: Final = 90
_ALERT_SECONDS_MAX: Final = 15
_LOOK_AGAIN_SECONDS: Final = 0.2
_STATUS_SECONDS: Final = 5
_OVERSPENDER_SCOPE: Final = f"user/{OVERSPENDER}"
_OVERSPENDER_LIMIT_PICOUSD: Final = 5 * PICO
# A third more than a month of history costs.
_COMPANY_LIMIT_PICOUSD: Final = 1200 * PICO
_CLIPS_TO_THE_LIMIT: Final = 10
# How much of these scopes' months is spent when the live part begins: one has passed its warning, one is near it.
_PERCENT_SPENT: Final = {"campaign/holiday-2024": 86, "service/video-agent": 78, "agent/SEO": 55}


async def play(stage: Stage, seconds: float | None, rate: float) -> None:
    """Play the whole story, then live traffic for `seconds` or until cancelled. Raises UnreachableError."""
    async with Outputs(stage.settings) as outputs:
        await _history(stage, outputs)
        limit_picousd = await _set_budgets(stage, outputs)
        try:
            async with AsyncExitStack() as connections, asyncio.TaskGroup() as group:
                services = [await _open_service(stage, name, connections) for name in SERVICES]
                tasks = [group.create_task(service.serve(rate)) for service in services]
                stage.screen.line(
                    "live", f"{', '.join(SERVICES)}: {rate:g} calls a second, each checks the flags first"
                )
                overspending = await _Overspending.prepare(stage, outputs, services, limit_picousd)
                tasks.append(group.create_task(overspending.clips.go_on()))
                await overspending.tell()
                trial = await tell_limits(stage, outputs, services[-1].flags)
                await _what_to_try(stage, trial)
                tasks.append(group.create_task(_tell_changes(stage, services[0].flags)))
                await _go_on(stage, outputs, services, overspending.clips, seconds)
                for task in tasks:
                    task.cancel()
        except* BrokenPipeError:
            # Whoever reads the story through a pipe has ended.
            raise BrokenPipeError from None
        except* UnavailableError as errors:
            first = str(errors.exceptions[0])
            raise UnreachableError(f"{first}: does the stack still run? See `tollgate status`.") from None


async def _history(stage: Stage, outputs: Outputs) -> None:
    screen = stage.screen
    today = datetime.now(UTC).date()
    days = days_before(today)
    started = time.monotonic()
    published = 0
    async with open_writer(stage.settings, Topic.USAGE) as writer:
        for day in days:
            for found in events_of(day):
                await writer.write(found.user.encode(), msgspec.json.encode(found.event))
                published += 1
    providers = len({offer.provider for offer in OFFERS if offer.provider})
    agents = len({offer.agent for offer in OFFERS if offer.agent})
    screen.line("history", f"{DAYS} days of {len(USERS)} users with {providers} providers and {agents} agents")
    screen.line("", f"{published:,} events published in {time.monotonic() - started:.1f} s")
    history, everything = await _counted(stage, outputs, published, (days[0].isoformat(), today.isoformat()))
    said = outputs.spent("global", "lifetime")
    screen.line("", f"counted and in ClickHouse after {time.monotonic() - started:.1f} s")
    screen.line("", f"Kafka says       {said}, of which {_this_month(outputs)} this month")
    verdict = "equal" if said == everything else "DIFFERENT: other events are still arriving"
    screen.line("", f"ClickHouse says  {everything}, {verdict}")
    if everything.events > history.events:
        screen.line("", f"({history.events:,} of them are this history)")


async def _counted(stage: Stage, outputs: Outputs, events: int, days: tuple[str, str]) -> tuple[Total, Total]:
    """The history's and everything's total in ClickHouse, once all is there and Kafka says the same."""
    deadline = time.monotonic() + _COUNTED_SECONDS_MAX
    first, end = (ID_PREFIX + day for day in days)
    async with stage.clickhouse() as client:
        while True:
            history = await clickhouse_total(
                client, "event_id >= %(first)s AND event_id < %(end)s", first=first, end=end
            )
            everything = await clickhouse_total(client)
            if history.events == events and everything == outputs.spent("global", "lifetime"):
                return history, everything
            if time.monotonic() > deadline:
                if history.events == events:
                    return history, everything
                raise UnreachableError(
                    f"only {history.events:,} of {events:,} events are in ClickHouse after {_COUNTED_SECONDS_MAX} s: "
                    "see `tollgate status` and `tollgate doctor`."
                )
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


def _this_month(outputs: Outputs) -> str:
    return dollars(spent_now(outputs, "global", WindowKind.MONTH))


async def _set_budgets(stage: Stage, outputs: Outputs) -> int:
    """Limit the overspender's day and, unless it has a limit, the company's month. Returns the former in 10⁻¹² USD."""
    spent = spent_now(outputs, _OVERSPENDER_SCOPE, WindowKind.DAY)
    limit = _OVERSPENDER_LIMIT_PICOUSD
    if spent * 10 > limit * 6:
        # The demo was played today already: leave the user as much to spend as the first time.
        limit = -(-spent * 10 // (7 * PICO)) * PICO
    user = budget_of(_OVERSPENDER_SCOPE, limit, WindowKind.DAY, default_thresholds())
    company = budget_of("global", _COMPANY_LIMIT_PICOUSD, WindowKind.MONTH, default_thresholds(Action.ALERT))
    await write_budget(stage.settings, user, "demo", "so that one user crosses it")
    known = await read_budgets(stage.settings)
    if company.id in known:
        company = known[company.id]
    else:
        await write_budget(stage.settings, company, "demo", "the company's month")
    for scope, percent in _PERCENT_SPENT.items():
        spent_usd = -(-spent_now(outputs, scope, WindowKind.MONTH) * 100 // percent // PICO)
        budget = budget_of(scope, max(spent_usd, 1) * PICO, WindowKind.MONTH, default_thresholds(Action.ALERT))
        if budget.id not in known:
            await write_budget(stage.settings, budget, "demo", "so that there is something to watch")
    stage.screen.line("budgets", f"{_OVERSPENDER_SCOPE} {dollars(limit)} a day, {dollars(spent)} spent")
    month = spent_now(outputs, "global", WindowKind.MONTH)
    company_limit = parse_usd(company.limit)
    stage.screen.line("", f"global {dollars(company_limit)} a month, {month * 1000 // company_limit / 10} % spent")
    return limit


async def _open_service(stage: Stage, name: str, connections: AsyncExitStack) -> Service:
    servers, prefix = stage.settings.kafka_bootstrap_servers, stage.settings.topic_prefix
    usage = await connections.enter_async_context(UsagePublisher(servers, source=name, topic_prefix=prefix))
    flags = await connections.enter_async_context(FlagReader(servers, source=name, topic_prefix=prefix))
    return Service(name, usage, flags, str(time.time_ns()))


class _Overspending:
    """The part in which a user's video agent goes over the user's budget."""

    def __init__(self, stage: Stage, outputs: Outputs, services: list[Service], clips: Clips) -> None:
        self.clips = clips
        self._stage = stage
        self._outputs = outputs
        self._services = services
        self._flags = next(service for service in services if service.name == "video-agent").flags
        self._crossing: asyncio.Task[Crossing]

    @classmethod
    async def prepare(
        cls, stage: Stage, outputs: Outputs, services: list[Service], limit_picousd: int
    ) -> "_Overspending":
        """Size the clips so that ten of them reach the limit, and wait until the user is free."""
        video = next(service for service in services if service.name == "video-agent")
        spent = spent_now(outputs, _OVERSPENDER_SCOPE, WindowKind.DAY)
        second = _cost_of_a_second(stage)
        seconds = max(1, -(-(limit_picousd - spent) // (_CLIPS_TO_THE_LIMIT * second)))
        story = cls(stage, outputs, services, Clips(video, seconds))
        freed = await until(lambda: video.ask(OVERSPENDER, Clips.OFFER).allowed, _BLOCKED_SECONDS_MAX)
        if not freed:
            raise UnreachableError(f"{OVERSPENDER} is still blocked by another budget: see `tollgate flags`.")
        story._crossing = asyncio.create_task(story.clips.watch_block(seconds * second, spent, limit_picousd))
        # The watcher must be there before the first clip.
        await asyncio.sleep(0)
        return story

    async def tell(self) -> None:
        """Warning, block, refusals, the message."""
        screen = self._stage.screen
        try:
            async with asyncio.timeout(_BLOCKED_SECONDS_MAX):
                await until(lambda: self._state() is not FlagState.OK, _BLOCKED_SECONDS_MAX)
                if (flag := self._flags.flag(_OVERSPENDER_SCOPE)) is not None:
                    screen.news(_flag_line(flag))
                crossing = await self._crossing
        except TimeoutError:
            raise UnreachableError(
                f"{OVERSPENDER} was not blocked within {_BLOCKED_SECONDS_MAX} s: see `tollgate status`."
            ) from None
        finally:
            self._crossing.cancel()
        flag, after_ms = crossing.flag, crossing.after_ms
        seen = f"  {after_ms} ms after the call that crossed the limit was published" if after_ms is not None else ""
        screen.news(f"{_flag_line(flag)}{seen}")
        await until(lambda: self.clips.tally.refused > 0, _BLOCKED_SECONDS_MAX)
        decision = self._services[0].flags.check(user=OVERSPENDER)
        if not decision.allowed:
            screen.news(
                f"{OVERSPENDER} calls again and gets {decision.http_status} {decision.error} until {flag.until}"
            )
        made, refused = (
            sum(service.tally.made for service in self._services),
            refused_others(self._services, self.clips),
        )
        screen.news(f"everyone else continues: {made - self.clips.tally.made} calls, {refused} refused")
        await self._message(flag)

    async def _message(self, flag: Flag) -> None:
        def raised() -> bool:
            alert = self._outputs.alert(_OVERSPENDER_SCOPE, WindowKind.DAY.value)
            return alert is not None and alert.severity >= 2 and alert.limit == flag.limit

        await until(raised, _ALERT_SECONDS_MAX)
        alert = self._outputs.alert(_OVERSPENDER_SCOPE, WindowKind.DAY.value)
        if alert is not None:
            self._stage.screen.gap()
            self._stage.show_alert(alert)

    def _state(self) -> FlagState:
        return self._flags.check(user=OVERSPENDER).state


def _cost_of_a_second(stage: Stage) -> int:
    offer = Clips.OFFER
    data = EventData(provider=offer.provider, model=offer.model, usage={"video_seconds": 1})
    pricer = Pricer(load_price_book(stage.settings.price_book))
    return pricer.price(data, time.time_ns() // 1_000_000).cost_picousd


def _flag_line(flag: Flag) -> str:
    numbers = f"{amount(flag.spent, flag.unit)} of {amount(flag.limit, flag.unit)}"
    state = flag.state.value.upper()
    return f"{safe(flag.scope.removeprefix('user/'))}  {flag.percent:>6} %  {state:<7}  {numbers}"


async def _what_to_try(stage: Stage, trial: str) -> None:
    event = {
        "specversion": "1.0",
        "type": "tollgate.usage.v1",
        "subject": "me",
        "time": format_instant(time.time_ns() // 1_000_000),
        "data": {"provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 1000, "output_tokens": 200}},
    }
    query = (
        "SELECT service, count() AS calls, sum(cost_usd) AS usd FROM tollgate.usage GROUP BY service ORDER BY usd DESC"
    )
    database = stage.settings.clickhouse_database
    query = query.replace("tollgate.usage", f"{database}.usage") + " FORMAT PrettyCompactMonoBlock"
    address = f"-u {_clickhouse_login(stage)} {shell_word(stage.settings.clickhouse_url)}"
    link, _ = await login_link(stage.settings, Role.ADMIN, system_actor())
    stage.screen.gap()
    stage.screen.line("console", f"open {link}")
    another = stage.command("console", "login")
    stage.screen.line("", f"it logs in once, within {LOGIN_MINUTES} minutes; another: {another}")
    stage.screen.gap()
    stage.screen.line("try", "from a second terminal, in this directory:")
    stage.screen.block(
        (
            stage.command("status"),
            stage.command("why", _OVERSPENDER_SCOPE),
            stage.command("budget", "set", _OVERSPENDER_SCOPE, "--limit", "50", "--window", "day"),
            stage.command("credits", "show", trial),
            stage.command("reserve", trial, "--credits", "25"),
            stage.command("spend", "global"),
            f"echo {shell_word(json.dumps(event, separators=(',', ':')))} | {stage.command('publish', '-')}",
            f"curl -s {address} --data {shell_word(query)}",
            stage.command("verify"),
        ),
        "  ",
    )
    stage.screen.gap()


def _clickhouse_login(stage: Stage) -> str:
    """Name and password, for a command to copy."""
    settings = stage.settings
    return shell_word(f"{settings.clickhouse_user}:{settings.clickhouse_password.get_secret_value()}")


async def _tell_changes(stage: Stage, flags: FlagReader) -> None:
    states = {flag.scope: flag.state for flag in flags.in_force()}
    async for flag in flags.changes():
        if flag.state is states.get(flag.scope, FlagState.OK):
            continue
        states[flag.scope] = flag.state
        free = flag.state is FlagState.OK
        stage.screen.news(f"{safe(flag.scope.removeprefix('user/'))} is free again" if free else _flag_line(flag))


async def _go_on(stage: Stage, outputs: Outputs, services: list[Service], clips: Clips, seconds: float | None) -> None:
    """A line now and then, until the time is up or the task is cancelled, which is how the watcher ends the demo."""
    if seconds is None:
        stage.screen.line("live", "continues until Ctrl-C")
    deadline = time.monotonic() + seconds if seconds is not None else float("inf")
    try:
        while (left := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(_STATUS_SECONDS, left))
            made, others = sum(service.tally.made for service in services), refused_others(services, clips)
            month = spent_now(outputs, "global", WindowKind.MONTH)
            stage.screen.news(
                f"{made:,} calls made, {clips.tally.refused + others:,} refused "
                f"({clips.tally.refused:,} to {OVERSPENDER}); this month {dollars(month)}"
            )
    except asyncio.CancelledError:
        return
