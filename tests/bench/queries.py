"""`python -m tests.bench.queries`: what people ask ClickHouse, with ten million events in it.

The events are spread over two months. The days that are over are merged, and the last events come as a sink writes
them: in small inserts, some of them twice. Asked are all queries of docs/analytics.md, what the commands ask, and what
a page about one user would. Each is asked several times, and the sum of all costs must be right. One line of JSON per
query on stdout.
"""

import argparse
import re
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from tests.bench.clickhouse import ClickHouse
from tests.bench.scene import Result, Scene, Sizes, spread
from tests.bench.throughput import say

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "analytics.md"
_EXAMPLE = re.compile(r"^### (?P<name>[^\n]+)\n(?:(?!^###).)*?```sql\n(?P<sql>.*?)```", re.DOTALL | re.MULTILINE)

EVENTS = 10_000_000
USERS = 40_000
# October and November 2026: the month that the document's queries ask about has half of the events.
DAYS = 61
FIRST_DAY = "2026-10-01"
# One insert of a busy sink, which the last hours are written with. Every tenth is repeated, as after a crash.
INSERT_ROWS = 5_000
INSERTS = 40
# The rest is written in inserts that fit into memory.
FILL_ROWS = 500_000
MERGE_SECONDS_MAX = 300

_FILL = """
INSERT INTO usage_events
    (event_id, source, time, kind, user, org, service, provider, model, agent, campaign, feature, product, operation,
     status, latency_ms, request_id, usage, cost_usd, retail_usd, price_id, price_status, source_partition,
     source_offset, version)
SELECT
    concat('01JD8ZQ4T', leftPad(toString(number), 17, '0')),
    ['chat-api', 'search-api', 'image-api'][1 + number % 3],
    toDateTime64('{first_day}', 3, 'UTC') + toIntervalMillisecond(intDiv(number * {days} * 86400000, {events})),
    'usage',
    concat('u-', toString(cityHash64(number) % {users})),
    concat('org-', toString(cityHash64(number) % {users} % 50)),
    ['chat', 'search', 'images'][1 + number % 3],
    ['openai', 'anthropic', 'google', 'mistral'][1 + cityHash64(number, 1) % 4],
    concat('model-', toString(cityHash64(number, 1) % 20)),
    ['SEO', 'CONTENT', 'EMAIL', 'SUPPORT', ''][1 + cityHash64(number, 2) % 5],
    concat('campaign-', toString(cityHash64(number, 3) % 100)),
    'chat', 'web', 'chat.completion',
    if(cityHash64(number, 4) % 50 = 0, 'error', 'success'),
    300 + cityHash64(number, 5) % 900,
    hex(sipHash128(number)),
    if(number % 3 = 2,
        map('images', toDecimal128(1 + cityHash64(number, 6) % 4, 9)),
        map('input_tokens', toDecimal128(100 + cityHash64(number, 6) % 5000, 9),
            'cached_input_tokens', toDecimal128(cityHash64(number, 7) % 100, 9),
            'output_tokens', toDecimal128(cityHash64(number, 8) % 1000, 9))),
    toDecimal128(1000000000 + number, 12) / 1000000000000,
    toDecimal128('0.025', 12),
    concat('openai/model-', toString(cityHash64(number, 1) % 20), '@2024-10-01#0a1b2c3d'),
    if(cityHash64(number, 9) % 1000 = 0, 'unpriced', 'priced'),
    number % 8, intDiv(number, 8), 1
FROM numbers({start}, {count})
SETTINGS max_partitions_per_insert_block = 0
"""

# The worker's own sums, as they would be: each scope's days and months.
_SPEND = """
INSERT INTO spend_records (scope, window, window_start, window_end, timezone, spent_usd, events, updated_at)
SELECT {scope}, '{window}', toStartOfInterval(time, INTERVAL 1 {window}) AS start, start + INTERVAL 1 {window}, 'UTC',
    sum(cost_usd), count(), max(time)
FROM usage
GROUP BY ALL
"""
_SCOPES = ("'global'", *(f"concat('{name}/', {name})" for name in ("user", "service", "model", "agent", "campaign")))

_OTHERS = (
    """
    INSERT INTO budget_records
        (id, scope, `limit`, unit, window, timezone, warning_percent, critical_percent, critical_action, removed)
    VALUES ('user/*:month:usd', 'user/*', 5, 'usd', 'month', 'UTC', 80, 100, 'block', false),
        ('user/u-3:month:usd', 'user/u-3', 4, 'usd', 'month', 'UTC', 80, 100, 'block', false),
        ('global:month:usd', 'global', 100000, 'usd', 'month', 'UTC', 80, 100, 'block', false)
    """,
    """
    INSERT INTO flag_records
        (scope, state, blocked, action, reason, budget, window, `limit`, unit, spent, percent, since, revision,
         source_offset)
    SELECT concat('user/u-', toString(number % 5000)), if(number % 2 = 0, 'blocked', 'ok'), number % 2 = 0, 'block',
        'usage_limit_exceeded', 'user/*:month:usd', 'month', 5, 'usd', 6, 120,
        toDateTime64('2026-11-01', 3, 'UTC') + number, intDiv(number, 5000), number
    FROM numbers(20000)
    """,
    """
    INSERT INTO dead_letter_records
        (time, reason, error, source_topic, source_partition, source_offset, key, value, dead_letter_offset)
    SELECT toDateTime64('2026-11-01', 3, 'UTC') + number, ['not_json', 'future'][1 + number % 2], 'not JSON',
        'tollgate.usage', 1, number, 'u-1', repeat('x', 500), number
    FROM numbers(20000)
    """,
)

# What `tollgate why` asks for a user and for everything, and what a page about now, or about one user, would.
_NEWEST = """
SELECT time, event_id, source, user, provider, model, agent, toString(cost_usd) AS cost_usd, price_status FROM usage
WHERE {where} AND time >= '2026-11-01' AND time < '2026-12-01' ORDER BY time DESC, event_id LIMIT 20
"""
_PAGES = {
    "The newest events of a user": _NEWEST.format(where="user = 'u-42'"),
    "The newest events of a campaign": _NEWEST.format(where="campaign = 'campaign-7'"),
    "The newest events of all": _NEWEST.format(where="true"),
    "A user's month by model": "SELECT model, count(), sum(cost_usd) FROM usage"
    " WHERE user = 'u-42' AND time >= '2026-11-01' AND time < '2026-12-01' GROUP BY model",
    "A user's two months, day by day": "SELECT toDate(time) AS day, sum(cost_usd) FROM usage"
    " WHERE user = 'u-42' GROUP BY day ORDER BY day",
    "The last 24 hours, hour by hour": "SELECT toStartOfHour(time) AS hour, count(), sum(cost_usd) FROM usage"
    " WHERE time >= '2026-11-30' GROUP BY hour ORDER BY hour",
    "The last 30 days by service and day": "SELECT toDate(time) AS day, service, sum(cost_usd) FROM usage"
    " WHERE time >= '2026-11-01' GROUP BY day, service ORDER BY day, service",
    "One event by its id": "SELECT * FROM usage WHERE event_id = '01JD8ZQ4T00000000009000000'",
    "All events: count and cost": "SELECT count(), sum(cost_usd) FROM usage",
    "Spend: a user's days, the worker's sums": "SELECT window_start, spent_usd FROM spend"
    " WHERE scope = 'user/u-42' AND window = 'day' ORDER BY window_start",
    "Spend: this month by model, the worker's sums": "SELECT scope, spent_usd FROM spend"
    " WHERE window = 'month' AND window_start = '2026-11-01' AND startsWith(scope, 'model/') ORDER BY spent_usd DESC",
    "Spend: the ten dearest users, the worker's sums": "SELECT scope, spent_usd FROM spend WHERE window = 'month'"
    " AND window_start = '2026-11-01' AND startsWith(scope, 'user/') ORDER BY spent_usd DESC LIMIT 10",
    "What is blocked now": "SELECT scope, reason, until FROM flags_current WHERE in_force AND blocked",
}


@dataclass(frozen=True)
class Question:
    """A query and what it is for."""

    name: str
    sql: str


def questions() -> list[Question]:
    """Those of the document in its order, then the others."""
    document = DOCUMENT.read_text(encoding="utf-8")
    found = [Question(match["name"], match["sql"]) for match in _EXAMPLE.finditer(document)]
    if len(found) < 10:
        raise AssertionError(f"only {len(found)} queries were found in {DOCUMENT}")
    return found + [Question(name, sql) for name, sql in _PAGES.items()]


class Server(Protocol):
    """Whatever answers one statement as tab-separated text."""

    def query(self, sql: str) -> str:
        """The answer."""


def fill(server: Server, events: int, users: int = USERS) -> None:
    """Write the events, their worker's sums, and some of everything else; raise unless the view's sum is right."""
    shape = {"first_day": FIRST_DAY, "days": DAYS, "users": users, "events": events}
    at_once = events - INSERTS * INSERT_ROWS
    for start in range(0, at_once, FILL_ROWS):
        server.query(_FILL.format(start=start, count=min(FILL_ROWS, at_once - start), **shape))
    merge_past_days(server)
    for number in range(INSERTS):
        insert = _FILL.format(start=at_once + number * INSERT_ROWS, count=INSERT_ROWS, **shape)
        for _ in range(2 if number % 10 == 0 else 1):
            server.query(insert)
    for scope in _SCOPES:
        for window in ("day", "month"):
            server.query(_SPEND.format(scope=scope, window=window))
    for statement in _OTHERS:
        server.query(statement)
    count, cost = server.query("SELECT count(), sum(cost_usd) FROM usage").split("\t")
    right = Decimal(events * 1_000_000_000 + events * (events - 1) // 2).scaleb(-12)
    if int(count) != events or Decimal(cost) != right:
        raise AssertionError(f"the view has {count} events of {cost} USD; right is {events} of {right}")


def merge_past_days(server: Server) -> None:
    """Wait until every day is one part. The table's own setting brings that about ten minutes after its last row."""
    setting = "ALTER TABLE usage_events MODIFY SETTING min_age_to_force_merge_seconds"
    parts = "SELECT count() - uniqExact(partition) FROM system.parts WHERE database = currentDatabase() AND active"
    server.query(f"{setting} = 1")
    deadline = time.monotonic() + MERGE_SECONDS_MAX
    while server.query(f"{parts} AND table = 'usage_events'") != "0":
        if time.monotonic() > deadline:
            raise TimeoutError("days are not merged into one part each")
        time.sleep(1)
    server.query(f"{setting} = 600")


def times_ms(server: ClickHouse, question: Question, runs: int) -> list[float]:
    """How long each run took, after one that is not counted: from the request to the whole answer."""
    server.query(question.sql)
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        server.query(question.sql)
        times.append((time.perf_counter() - started) * 1000)
    return times


def measure(scene: Scene, events: int) -> list[Result]:
    """One figure per question: the median of all runs."""
    server = ClickHouse(scene, "queries")
    with server.running():
        server.migrate()
        started = time.perf_counter()
        fill(server, events)
        stored = "SELECT count(), uniqExact(partition) FROM system.parts WHERE database = currentDatabase() AND active"
        parts, days = server.query(f"{stored} AND table = 'usage_events'").split("\t")
        say(
            f"  {events} events in {parts} parts of {days} days, filled in {time.perf_counter() - started:.0f} s; exact"
        )
        results = []
        for question in questions():
            times = times_ms(server, question, scene.sizes.runs)
            say(f"  {statistics.median(times):6.0f} ms, at most {max(times):4.0f}: {question.name}")
            detail = {"events": events, "spread": spread(times)}
            results.append(Result(f"query: {question.name}", statistics.median(times), "ms", detail=detail))
    return results


def main() -> None:
    """These figures alone, with sizes of their own."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.queries", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="tollgate-bench-"))
    try:
        results = measure(Scene("", 0, directory, Sizes(0, runs=given.runs)), given.events)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    for result in results:
        print(result.line())


if __name__ == "__main__":
    main()
