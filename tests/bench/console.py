"""`python -m tests.bench.console`: the console with ten million events behind it and 2,000 events a second arriving.

A whole stack runs: Kafka, ClickHouse, worker, sinks, console. ClickHouse is filled with two months of 100,000 users.
Then one thing after another is measured while a second process publishes: first byte of the overview, the overview in
a real browser, reads of the API at 50 requests a second, `POST /usage` alone and in batches, `POST /check`, the time
until a changed budget is in force, and the console's memory. One line of JSON per figure on stdout; progress, and how
much of a core each process takes meanwhile, on stderr.
"""

import argparse
import asyncio
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import psutil
from tests.bench import browser, queries
from tests.bench.clickhouse import peak_mb
from tests.bench.scene import Result
from tests.bench.stack_clickhouse import StackClickHouse
from tests.bench.throughput import say
from yarl import URL

from tollgate.schemas.outputs import Flag
from tollgate.sdk import FlagReader

USERS = 100_000
LIVE_PER_SECOND = 2_000
READS_PER_SECOND = 50
BATCHES_PER_SECOND = 50
BATCH_EVENTS = 100
CHANGES = 20
IN_FORCE_SECONDS_MAX = 10
# The bench is one caller; what it measures is not the limit on its rate.
NO_LIMIT = "1000000"

READS = (
    "/api/v1/dashboard",
    "/api/v1/spend?scope=global&window=month",
    "/api/v1/spend?scope=user/u-42&window=month",
    "/api/v1/summaries/daily?from=2026-11-01&to=2026-12-01",
    "/api/v1/breakdown?by=service&from=2026-11-01&to=2026-12-01",
    "/api/v1/breakdown?by=model&from=2026-11-01&to=2026-12-01",
    "/api/v1/top?by=user&from=2026-11-01&to=2026-12-01&limit=10",
    "/api/v1/trends?from=2026-11-01&to=2026-12-01",
    "/api/v1/projections",
    "/api/v1/events?user=u-42&limit=20",
    "/api/v1/users/u-42",
    "/api/v1/budgets/status",
    "/api/v1/flags",
    "/api/v1/alerts",
)


class Console:
    """The stack, and tokens for its console."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._env = os.environ | {
            "TOLLGATE_CONSOLE_REQUESTS_PER_MINUTE": NO_LIMIT,
            "TOLLGATE_CONSOLE_SERVICE_REQUESTS_PER_MINUTE": NO_LIMIT,
            "TOLLGATE_LOG_LEVEL": "warning",
        }
        ready = json.loads(self.tollgate("up", "--detach", "--json"))
        self.base = f"http://127.0.0.1:{ready['ports']['console']}"
        self.kafka = f"127.0.0.1:{ready['ports']['kafka']}"
        self.clickhouse_port = ready["ports"]["clickhouse"]
        self.pids: dict[str, int] = ready["pids"]
        self.pid = self.pids["console"]

    def tollgate(self, *words: str) -> str:
        """What a command prints."""
        command = [sys.executable, "-m", "tollgate.cli.main", *words, "--data-dir", str(self._directory)]
        return subprocess.run(command, env=self._env, capture_output=True, text=True, check=True).stdout

    def token(self, role: str) -> str:
        """A new token."""
        return str(json.loads(self.tollgate("token", "create", "--role", role, "--name", "bench", "--json"))["token"])


class Cores:
    """How much of a core each process of the stack takes from `with` on; told at its end."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._processes = {role: psutil.Process(pid) for role, pid in (pids | {"bench": os.getpid()}).items()}

    def __enter__(self) -> None:
        self._began, self._before = time.monotonic(), self._seconds()

    def __exit__(self, *_error: object) -> None:
        took, now = time.monotonic() - self._began, self._seconds()
        shares = {role: (now[role] - self._before[role]) / took for role in now}
        say("  cores: " + ", ".join(f"{role} {share:.2f}" for role, share in shares.items()))

    def _seconds(self) -> dict[str, float]:
        return {role: sum(process.cpu_times()[:2]) for role, process in self._processes.items()}


async def at_rate(per_second: float, seconds: float, call: Callable[[int], Awaitable[Any]]) -> list[float]:
    """Milliseconds of each call, which begin at this rate whether or not those before have ended.

    A call that fails is told, and has no time.
    """
    times: list[float] = []
    failed: Counter[str] = Counter()

    async def timed(number: int) -> None:
        began = time.perf_counter()
        try:
            await call(number)
        except aiohttp.ClientError as error:
            failed[str(error).partition("\n")[0]] += 1
        else:
            times.append((time.perf_counter() - began) * 1000)

    started, tasks = time.perf_counter(), []
    for number in range(int(per_second * seconds)):
        await asyncio.sleep(max(0.0, started + number / per_second - time.perf_counter()))
        tasks.append(asyncio.create_task(timed(number)))
    await asyncio.gather(*tasks)
    for what, count in failed.most_common():
        say(f"  FAILED {count} times: {what}")
    return sorted(times)


def figure(name: str, times: list[float], share: float) -> Result:
    """A percentile of the times, with its neighbours."""
    percentiles = {f"p{int(p * 100)}": round(times[int(len(times) * p)], 1) for p in (0.5, 0.95, 0.99)}
    result = Result(name, times[int(len(times) * share)], "ms", detail={"calls": len(times), **percentiles})
    say(f"  {name}: {result.ours:.1f} ms {percentiles}")
    return result


def usage_event(number: int) -> dict[str, Any]:
    """A call of one of 100,000 users."""
    usage = {"input_tokens": 1200, "output_tokens": 300}
    data = {"provider": "openai", "model": "gpt-4o", "service": "chat", "usage": usage}
    return {"source": "bench", "subject": f"u-{number * 7919 % USERS}", "data": data}


class Measures:
    """What is measured, one after another."""

    def __init__(self, console: Console, client: aiohttp.ClientSession, seconds: float) -> None:
        self._console = console
        self._client = client
        self._seconds = seconds
        self._token = console.token("admin")
        self._admin, self._service = (
            {"Authorization": f"Bearer {token}"} for token in (self._token, console.token("service"))
        )

    async def all(self) -> list[Result]:
        """Every figure."""
        results = [await self.overview(), *await browser.overview(self._console.base, self._token), await self.reads()]
        results += [*await self.usage(), await self.check(), await self.in_force()]
        memory = peak_mb(self._console.pid)
        say(f"  the console's memory: {memory:.0f} MB at most")
        return [*results, Result("console: memory at most", memory, "MB")]

    async def _at_rate(self, per_second: float, call: Callable[[int], Awaitable[Any]]) -> list[float]:
        with Cores(self._console.pids):
            return await at_rate(per_second, self._seconds, call)

    async def overview(self) -> Result:
        """The first byte of `/`."""

        async def ask(_number: int) -> None:
            async with self._client.get("/", headers=self._admin) as answer:
                await answer.content.readany()

        return figure("console: first byte of the overview, p95", await self._at_rate(5, ask), 0.95)

    async def reads(self) -> Result:
        """The API's reads, all in turn."""

        slowest: dict[str, float] = dict.fromkeys(READS, 0.0)

        async def ask(number: int) -> None:
            path, began = READS[number % len(READS)], time.perf_counter()
            await self._read(path)
            slowest[path] = max(slowest[path], (time.perf_counter() - began) * 1000)

        times = await self._at_rate(READS_PER_SECOND, ask)
        say("  the slowest of each: " + ", ".join(f"{path} {worst:.0f}" for path, worst in slowest.items()))
        return figure(f"console: API reads at {READS_PER_SECOND}/s, p95", times, 0.95)

    async def usage(self) -> list[Result]:
        """One event at a time, and batches."""

        async def post(body: Any) -> None:
            async with self._client.post("/api/v1/usage", headers=self._service, json=body) as answer:
                assert not (await answer.json())["refused"]

        one = await self._at_rate(50, lambda number: post(usage_event(number)))
        batches = [[usage_event(b * BATCH_EVENTS + i) for i in range(BATCH_EVENTS)] for b in range(50)]
        started = time.perf_counter()
        many = await self._at_rate(BATCHES_PER_SECOND, lambda number: post(batches[number % len(batches)]))
        rate = len(many) * BATCH_EVENTS / (time.perf_counter() - started)
        say(f"  {rate:,.0f} events/s in batches of {BATCH_EVENTS}")
        return [
            figure("console: POST /usage, one event at 50/s, p95", one, 0.95),
            figure(f"console: POST /usage, batches of {BATCH_EVENTS} at {BATCHES_PER_SECOND}/s, p95", many, 0.95),
            Result("console: events/s over HTTP", rate, "events/s"),
        ]

    async def check(self) -> Result:
        """Decisions at 100 a second."""

        async def ask(number: int) -> None:
            body = {"user": f"u-{number}", "model": "gpt-4o", "service": "chat"}
            async with self._client.post("/api/v1/check", headers=self._service, json=body) as answer:
                await answer.read()

        before = await self._within("POST", "/api/v1/check")
        times = await self._at_rate(100, ask)
        within = [now - then for now, then in zip(await self._within("POST", "/api/v1/check"), before, strict=True)]
        say(f"  in the console itself within 2, 5, 10 and 20 ms: {within[:4]} of {within[4]}")
        return figure("console: POST /check at 100/s, p99", times, 0.99)

    async def _within(self, method: str, route: str) -> list[int]:
        """How many requests the console has answered within 2, 5, 10 and 20 ms, and in all, by its own clock."""
        text = (await self._read("/metrics")).decode()
        name = f'tollgate_console_request_seconds_bucket{{le="%s",method="{method}",route="{route}"}} '
        found = {line.rpartition(" ")[0] + " ": line.rpartition(" ")[2] for line in text.splitlines()}
        return [int(float(found.get(name % bound, "0"))) for bound in ("0.002", "0.005", "0.01", "0.02", "+Inf")]

    async def _read(self, path: str) -> bytes:
        async with self._client.get(path, headers=self._admin) as answer:
            return await answer.read()

    async def in_force(self) -> Result:
        """From the request that changes a budget to the flag that follows from it, at a reader of the flags."""
        times = []
        path = URL("/api/v1/budgets/service%2Fchat%3Amonth%3Ausd", encoded=True)
        async with FlagReader(self._console.kafka) as flags:
            version = 0
            for number in range(CHANGES):
                limit = "0.000001" if number % 2 == 0 else "100000000"
                body = {"scope": "service/chat", "limit": limit, "window": "month", "reason": "bench"}
                headers = self._admin | ({"If-Match": f'"{version}"'} if version else {})
                news = asyncio.create_task(_flag_of(flags, "service/chat", blocked=number % 2 == 0))
                await asyncio.sleep(0)
                began = time.perf_counter()
                async with self._client.put(path, headers=headers, json=body) as answer:
                    version = (await answer.json())["version"]
                await asyncio.wait_for(news, IN_FORCE_SECONDS_MAX)
                times.append((time.perf_counter() - began) * 1000)
        return figure("console: a changed budget is in force after, worst of 20", sorted(times), 0.999)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def _flag_of(flags: FlagReader, scope: str, *, blocked: bool) -> Flag:
    async for flag in flags.changes():
        if flag.scope == scope and flag.blocked is blocked:
            return flag
    raise AssertionError("changes never end by themselves")


def publish(address: str) -> None:
    """Live traffic, until the process is ended."""
    from tollgate.sdk import UsagePublisher

    async def run() -> None:
        async with UsagePublisher(address, source="live") as usage:
            started = time.perf_counter()
            for number in itertools.count(step=20):
                await asyncio.sleep(max(0.0, started + number / LIVE_PER_SECOND - time.perf_counter()))
                events = [usage_event(number + i) for i in range(20)]
                await asyncio.gather(*(usage.record(user=e["subject"], **e["data"]) for e in events))

    asyncio.run(run())


async def measure(events: int, seconds: float) -> list[Result]:
    """All figures."""
    directory = Path(tempfile.mkdtemp(prefix="tollgate-bench-"))
    console = Console(directory)
    live = None
    try:
        started = time.perf_counter()
        queries.fill(StackClickHouse(console.clickhouse_port, directory), events, USERS)
        say(f"  {events} events of {USERS} users in {time.perf_counter() - started:.0f} s")
        live = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.console", "--publish", console.kafka
        )
        console.pids["publisher"] = live.pid
        async with aiohttp.ClientSession(
            console.base, timeout=aiohttp.ClientTimeout(60), raise_for_status=True, json_serialize=_json
        ) as client:
            return await Measures(console, client, seconds).all()
    finally:
        if live is not None:
            live.kill()
        console.tollgate("down")
        shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    """These figures alone."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.console", description=__doc__)
    parser.add_argument("--events", type=int, default=queries.EVENTS)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--publish", metavar="ADDRESS", help="only publish live traffic to this broker")
    given = parser.parse_args()
    if given.publish:
        publish(given.publish)
        return
    say(f"load average {psutil.getloadavg()[0]:.1f}")
    for result in asyncio.run(measure(given.events, given.seconds)):
        print(result.line())


if __name__ == "__main__":
    main()
