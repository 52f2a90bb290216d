"""What was spent before a meter began: exact, once its rows are written, whatever happens to ClickHouse or the sink."""

import resource
from collections import Counter
from typing import Any, Final

import msgspec
import pytest
from structlog.testing import capture_logs
from tests.integration.clickhouse.door import Door, Way
from tests.integration.clickhouse.stream import (
    Outgoing,
    everything_committed,
    priced,
    publish,
    query,
    record,
    shows,
    sink,
)
from tests.integration.clickhouse.test_faults import sink_process, through
from tests.waiting import eventually

from tollgate.embedded.ports import free_ports
from tollgate.runtime.kafka import read_to_end
from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.meters import MeterRecord, Past, PastRow, decode_past
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.scopes import Dimension, parse_names, scope_of, scope_of_all
from tollgate.schemas.topics import USAGE_PARTITIONS, Topic
from tollgate.sinks.clickhouse import connect
from tollgate.sinks.clickhouse.past_query import Parts, ask_pasts

pytestmark = pytest.mark.integration

NOVEMBER: Final = 1793491200000
DECEMBER: Final = 1796083200000
# With the other costs beyond 64 bits of picousd.
MILLIONS: Final = "18000000.000000000001"
PICO: Final = 10**12
NANO: Final = 10**9


def home(user: str) -> int:
    """The partition of a user's events."""
    return partition_of(user.encode(), USAGE_PARTITIONS)


def spent(user: str, offset: int, **changes: Any) -> Outgoing:
    """An event of the user at this usage offset: 0.25 USD, retail 0.5, 100 input tokens, on 21 November."""
    return priced(
        offset, event_id=f"{user}-{offset}", user=user, source_partition=home(user), source_offset=offset, **changes
    )


def sent(user: str, offset: int, **changes: Any) -> Outgoing:
    """`spent` under the user's key, so that it is in the partition of its user."""
    outgoing = spent(user, offset, **changes)
    return Outgoing(outgoing.topic, user.encode(), outgoing.value)


def meter(scope: str, partition: int, from_offset: int, **changes: Any) -> MeterRecord:
    """A meter of November that began at this offset."""
    told = MeterRecord(
        meter=f"{scope}|month@Asia/Tokyo",
        scope=scope,
        calendar="month@Asia/Tokyo",
        partition=partition,
        from_offset=from_offset,
        window_start="2026-11-01T00:00:00Z",
        whole_from="2026-12-01T00:00:00Z",
        filled=False,
    )
    return msgspec.structs.replace(told, **changes)


def asked(question: MeterRecord) -> Outgoing:
    """The question as the worker writes it."""
    return record(Topic.METERS, f"{question.partition}|{question.meter}", msgspec.to_builtins(question))


async def answers(settings: Settings) -> list[tuple[int, bytes]]:
    """What is on the entries topic: partition and value, in order of each partition."""
    found = read_to_end(settings, settings.topic(Topic.ENTRIES))
    return [(record.partition, record.value) async for record in found]


async def answered(settings: Settings, count: int = 1, seconds: float = 30) -> list[tuple[int, bytes]]:
    """Wait for so many records on the entries topic."""
    found: list[tuple[int, bytes]] = []

    async def are_there() -> bool:
        found[:] = await answers(settings)
        return len(found) >= count

    await eventually(are_there, seconds, f"{count} answers")
    return found


async def rows_of(settings: Settings, question: MeterRecord) -> list[PastRow]:
    """The rows of the only answer, which is in the partition of the question."""
    ((partition, value),) = await answered(settings)
    past = decode_past(value)
    assert partition == question.partition
    assert (past.meter, past.from_offset, past.part, past.parts) == (question.meter, question.from_offset, 0, 1)
    return past.rows


def row(scope: str, start_ms: int, events: int, **usage: int) -> PastRow:
    """So many events of `spent`, with other usage where given."""
    amounts = {name: amount * NANO for name, amount in usage.items()} or {"input_tokens": events * 100 * NANO}
    return (scope, start_ms, events * PICO // 4, events * PICO // 2, events, amounts)


async def test_the_past_has_what_the_partition_counted_in_the_window_before_the_offset(tables: Settings) -> None:
    user = "u-1"
    question = meter("user/*+model/gpt-4o", home(user), 50)
    neighbour = next(name for name in (f"n-{n}" for n in range(100)) if home(name) == home(user))
    stranger = next(name for name in (f"s-{n}" for n in range(100)) if home(name) != home(user))
    events = [
        sent(user, 1, time="2026-10-31T23:59:59.999Z"),
        sent(user, 2, time="2026-11-01T00:00:00Z", usage={"input_tokens": 1, "images": "0.000000001"}),
        sent(user, 3, cost_usd="0.000000000001", retail_usd="0", usage={}),
        sent(user, 4, time="2026-11-30T23:59:59.999Z", cost_usd=MILLIONS, usage={"input_tokens": 10**17}),
        sent(user, 5, time="2026-12-01T00:00:00Z"),
        sent(user, 6, model="gpt-5"),
        sent(user, 7, model=""),
        sent(user, 49),
        sent(user, 50),
        sent(neighbour, 8),
        sent(stranger, 9),
    ]
    async with sink(tables):
        await publish(tables, *events, asked(question))
        rows = await rows_of(tables, question)
    # 0.25 + 0.000000000001 + 18,000,000.000000000001 + 0.25 USD; retail 0.5 + 0 + 0.5 + 0.5.
    tokens = (1 + 10**17 + 100) * NANO
    amounts = {"images": 1, "input_tokens": tokens}
    cost = 18_000_000 * PICO + PICO // 2 + 2
    names = {user: [(f"user/{user}+model/gpt-4o", NOVEMBER, cost, PICO * 3 // 2, 4, amounts),
                    row(f"user/{user}+model/gpt-4o", DECEMBER, 1)],
             neighbour: [row(f"user/{neighbour}+model/gpt-4o", NOVEMBER, 1)]}  # fmt: skip
    assert rows == [one for name in sorted(names) for one in names[name]]


async def test_credits_are_what_the_events_burned_and_not_what_a_sender_calls_so(tables: Settings) -> None:
    question = meter("user/*+model/gpt-4o", home("u-1"), 50)
    async with sink(tables):
        await publish(
            tables,
            sent("u-1", 1, credits="2.5", usage={"images": 1}),
            sent("u-1", 2, credits="0.000000001", usage={"images": 1, "credits": 7}),
            sent("u-1", 3, usage={"credits": 9}),
            asked(question),
        )
        ((_, _, _, _, events, amounts),) = await rows_of(tables, question)
    assert (events, amounts) == (3, {"credits": 2_500_000_001, "images": 2 * NANO})
    burned = query(tables, "SELECT event_id, toString(credits) FROM usage ORDER BY event_id")
    assert burned == [("u-1-1", "2.5"), ("u-1-2", "0.000000001"), ("u-1-3", "0")]


HOSTILE = [
    "a+model/b",
    "a%2Bmodel/b",
    "'; DROP TABLE usage_events; --",
    "\\'\\\\",
    "{name_user:String}",
    "%s%(x)s$1",
    '"`/*',
    "Ω→😀\u202e",
    "*x",
    " ",
    "x" * 256,
]


async def test_a_name_is_what_it_is_whatever_it_looks_like(tables: Settings) -> None:
    scopes = {name: scope_of(Dimension.USER, name) for name in HOSTILE}
    questions = [meter(f"{scope}+model/gpt-4o", home(name), 5) for name, scope in scopes.items()]
    async with sink(tables):
        await publish(tables, *(sent(name, 1) for name in HOSTILE), *map(asked, questions))
        found = await answered(tables, len(HOSTILE))
    pasts = {past.meter: past.rows for past in (decode_past(value) for _, value in found)}
    for question in questions:
        assert pasts[question.meter] == [row(question.scope, NOVEMBER, 1)], question.scope
    assert query(tables, "SELECT count() FROM usage") == [(len(HOSTILE),)]


async def test_questions_of_several_shapes_that_are_asked_together_get_each_its_own_answer(tables: Settings) -> None:
    """What each has is worked out from the events one by one, and is the same when a question is asked alone."""
    users = ["u-1", "u-2", "u-3", *HOSTILE]
    models = ["gpt-4o", "o3+user/x", "'; --"]
    sent_events = [
        (name, offset, models[(number + offset) % 3]) for number, name in enumerate(users) for offset in range(9)
    ]
    # 1 is in October for UTC and in November for Tokyo, and 8 in December.
    times = {1: "2026-10-31T20:00:00Z", 8: "2026-12-01T00:01:00Z"}
    tokyo = {"window_start": "2026-10-31T15:00:00Z", "whole_from": "2026-11-30T15:00:00Z"}
    questions = []
    for number, name in enumerate(users):
        user, model = scope_of(Dimension.USER, name), scope_of(Dimension.MODEL, models[number % 3])
        questions += [
            meter(f"{user}+{model}", home(name), number % 11),
            meter(user, home(name), 9 - number % 9, **tokyo),
            meter(f"{user}+model/*", home(name), 7),
            # The same window under another name, from another offset on.
            meter(f"{user}+model/*", home(name), 3, meter=f"{user}+model/*|month@Etc/UTC", calendar="month@Etc/UTC"),
        ]
    for partition in range(USAGE_PARTITIONS):
        questions += [
            meter(f"user/*+{scope_of(Dimension.MODEL, models[1])}", partition, 4 + partition % 3),
            meter("model/*", partition, 5, **tokyo),
            meter("global", partition, partition),
        ]
    keys = {(question.partition, question.meter) for question in questions}
    assert len(keys) == len(questions) == 4 * 14 + 3 * 8
    async with sink(tables):
        events = (
            sent(name, offset, model=model, **({"time": times[offset]} if offset in times else {}))
            for name, offset, model in sent_events
        )
        await publish(tables, *events, *map(asked, questions))
        found = await answered(tables, len(questions))
    together = {(partition, decode_past(value).meter): value for partition, value in found}
    assert together.keys() == keys
    client = connect(tables)
    for question in questions[::5]:
        parts = Parts([question])
        for number, one in ask_pasts(client, [question]):
            parts.add(number, one)
        assert list(parts.values(0)) == [together[question.partition, question.meter]]
        parts.close()
    client.close()
    for question in questions:
        value = together[question.partition, question.meter]
        begin, whole = (parse_instant(instant) for instant in (question.window_start, question.whole_from))
        wanted = parse_names(question.scope)
        counts: Counter[tuple[str, int]] = Counter()
        for name, offset, model in sent_events:
            names = {Dimension.USER: name, Dimension.MODEL: model}
            at_ms = parse_instant(times.get(offset, "2026-11-21T10:00:00Z"))
            if (
                home(name) == question.partition
                and offset < question.from_offset
                and at_ms >= begin
                and all(given in ("*", names[dimension]) for dimension, given in wanted)
            ):
                scope = scope_of_all((dimension, names[dimension]) for dimension, _ in wanted)
                counts[scope, begin if at_ms < whole else whole] += 1
        rows = {(each[0], each[1]): each for each in decode_past(value).rows}
        assert rows == {key: row(*key, events) for key, events in counts.items()}, question


async def test_after_failures_fewer_are_asked_together_and_then_more_again(tables: Settings) -> None:
    (port,) = free_ports(1)
    users = [f"u-{n}" for n in range(16)]
    questions = [meter(f"user/{name}+model/*", home(name), 5) for name in users]
    with Door(tables.clickhouse_url, port) as door, capture_logs() as logs:
        async with sink(through(tables, door.url)):
            await publish(tables, *(sent(name, 1) for name in users))
            await everything_committed(tables)
            door.way = Way.SHUT
            await publish(tables, *map(asked, questions))

            async def has_failed() -> bool:
                return len(meters_in(logs, "what was spent before meters began is asked again")) >= 4

            await eventually(has_failed, 30, "questions that fail")
            door.way = Way.OPEN
            found = await answered(tables, len(questions))
    assert {decode_past(value).meter for _, value in found} == {question.meter for question in questions}
    assert meters_in(logs, "what was spent before meters began is asked again")[:4] == [16, 8, 4, 2]
    succeeded = meters_in(logs, "what was spent before meters began is sent to the worker")
    assert sum(succeeded) == 16
    assert max(succeeded) >= 4, succeeded


def meters_in(logs: Any, event: str) -> list[int]:
    """How many meters each such line is about."""
    return [entry["meters"] for entry in logs if entry["event"] == event]


async def test_each_partition_gets_what_it_counted_before_its_own_offset(tables: Settings) -> None:
    users = {home(name): name for name in (f"u-{n}" for n in range(100))}
    assert len(users) == USAGE_PARTITIONS
    # The user of partition 0 has no event before its offset, that of partition 3 has three.
    questions = [meter("user/*+model/*", partition, 10 + partition) for partition in users]
    events = [sent(name, offset) for name in users.values() for offset in (10, 11, 12, 13)]
    async with sink(tables):
        await publish(tables, *events, *map(asked, questions))
        found = await answered(tables, USAGE_PARTITIONS)
    assert len(found) == USAGE_PARTITIONS
    counts = {partition: [each[4] for each in decode_past(value).rows] for partition, value in found}
    assert counts == {0: [], 1: [1], 2: [2], 3: [3], 4: [4], 5: [4], 6: [4], 7: [4]}


async def test_global_is_everything_and_nothing_is_a_part_without_rows(tables: Settings) -> None:
    everything = meter("global", home("u-1"), 5, window_start="1970-01-01T00:00:00Z", whole_from="9999-12-31T23:59:59Z")
    nothing = meter("org/acme+model/*", home("u-1"), 5)
    async with sink(tables):
        old = sent("u-1", 2, time="1980-01-01T00:00:00Z")
        await publish(tables, sent("u-1", 1), old, asked(everything), asked(nothing))
        found = await answered(tables, 2)
    pasts = {past.meter: past.rows for past in (decode_past(value) for _, value in found)}
    assert pasts == {everything.meter: [row("global", 0, 2)], nothing.meter: []}


async def test_rows_that_were_written_twice_and_adjustments_are_no_past(tables: Settings) -> None:
    question = meter("user/*+model/*", home("u-1"), 5)
    async with sink(tables):
        await publish(tables, sent("u-1", 1), sent("u-1", 1), sent("u-1", 2, kind="adjustment"))
        await shows(tables, "SELECT count() FROM usage", [(2,)])
        await publish(tables, asked(question))
        assert await rows_of(tables, question) == [row("user/u-1+model/gpt-4o", NOVEMBER, 1)]


async def test_the_answer_waits_for_rows_that_clickhouse_does_not_take(tables: Settings) -> None:
    (port,) = free_ports(1)
    question = meter("user/*+model/*", home("u-1"), 50)
    with Door(tables.clickhouse_url, port) as door:
        async with sink(through(tables, door.url)):
            await publish(tables, sent("u-1", 1))
            await shows(tables, "SELECT count() FROM usage", [(1,)])
            door.way = Way.DISK_FULL
            # Both are in one transaction, as the worker writes them.
            await publish(tables, *(sent("u-1", offset) for offset in range(2, 40)), asked(question))
            await eventually(lambda: turned_away(door), 30, "rows that are turned away")
            assert await answers(tables) == []
            door.way = Way.OPEN
            assert await rows_of(tables, question) == [row("user/u-1+model/gpt-4o", NOVEMBER, 39)]


async def turned_away(door: Door) -> bool:
    return door.turned_away >= 3


async def test_rows_are_written_while_questions_get_no_answer(tables: Settings) -> None:
    (port,) = free_ports(1)
    question = meter("user/*+model/*", home("u-1"), 50)
    with Door(tables.clickhouse_url, port, Way.NO_ANSWERS) as door, capture_logs() as logs:
        async with sink(through(tables, door.url)):
            await publish(tables, sent("u-1", 1), asked(question))
            await eventually(lambda: told(logs), 30, "a question that fails")
            await publish(tables, sent("u-1", 60))
            await shows(tables, "SELECT count() FROM usage", [(2,)])
            await everything_committed(tables)
            assert await answers(tables) == []
            door.way = Way.OPEN
            assert await rows_of(tables, question) == [row("user/u-1+model/gpt-4o", NOVEMBER, 1)]


async def told(logs: Any) -> bool:
    return any(entry["event"] == "what was spent before meters began is asked again" for entry in logs)


async def test_a_sink_that_was_killed_answers_again_with_the_same_bytes_until_the_answer_is_counted(
    tables: Settings,
) -> None:
    question = meter("user/*+model/*", home("u-1"), 50)
    await publish(tables, sent("u-1", 1), asked(question))
    for started in (1, 2):
        with sink_process(tables) as process:
            found = await answered(tables, started)
            process.kill()
            process.wait()
    assert found[0] == found[1]
    # The worker has counted it; another meter began, and one has gone.
    other = meter("user/*+agent/*", home("u-1"), 60)
    gone = meter("user/*+org/*", home("u-1"), 60)
    filled = msgspec.structs.replace(question, filled=True)
    await publish(tables, asked(gone), asked(other), asked(filled))
    await publish(tables, record(Topic.METERS, f"{gone.partition}|{gone.meter}", None))
    async with sink(tables):
        found = await answered(tables, 3)
        # A meter that begins anew is asked about anew.
        again = msgspec.structs.replace(question, from_offset=70)
        await publish(tables, asked(again))
        found = await answered(tables, 4)
    told = [(past.meter, past.from_offset) for past in (decode_past(value) for _, value in found)]
    assert told == [(question.meter, 50)] * 2 + [(other.meter, 60), (question.meter, 70)]


async def test_what_is_no_question_is_passed_over(tables: Settings) -> None:
    question = meter("user/*+model/*", home("u-1"), 50)
    broken = [b"", b"\xff", b"{}", b"[" * 3000, msgspec.json.encode(question)]
    # The last would be asked together with the one that is a question.
    strange = [meter("nonsense/x", 1, 5), meter("user/*+model/*", 99, 5), meter("user/*+model/*", home("u-2"), 2**63)]
    async with sink(tables) as task:
        await publish(
            tables,
            *(Outgoing(Topic.METERS, f"{n}".encode(), value) for n, value in enumerate(broken)),
            *map(asked, strange),
            sent("u-1", 1),
        )
        await publish(tables, asked(question))
        assert await rows_of(tables, question) == [row("user/u-1+model/gpt-4o", NOVEMBER, 1)]
        assert not task.done()


def test_two_hundred_thousand_scopes_are_parts_of_half_a_megabyte_in_little_memory(tables: Settings) -> None:
    client = connect(tables)
    client.command(
        "INSERT INTO usage_events (event_id, source, time, kind, user, model, usage, cost_usd, source_offset, version)"
        " SELECT toString(number), 's', '2026-11-21 10:00:00', 'usage', 'u-' || leftPad(toString(number), 7, '0'),"
        " 'gpt-4o', map('input_tokens', 100), 0.25, number, 1 FROM numbers(200000)"
    )
    question = meter("user/*+model/*", 0, 200_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parts = Parts([question])
    count = cost = tokens = 0
    last, largest = "", 0
    try:
        for number, one in ask_pasts(client, [question]):
            parts.add(number, one)
        for value in parts.values(0):
            largest = max(largest, len(value))
            past: Past = decode_past(value)
            for scope, _, picousd, _, events, usage in past.rows:
                assert scope > last
                last = scope
                count += events
                cost += picousd
                tokens += usage["input_tokens"]
    finally:
        parts.close()
        client.close()
    assert (count, cost, tokens) == (200_000, 50_000 * PICO, 20_000_000 * NANO)
    assert largest <= 500_000
    # Kilobytes. So many rows as Python objects are over 120 MB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
