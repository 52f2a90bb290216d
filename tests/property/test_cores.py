"""The compiled core and the Python core count the same, whatever they are fed."""

import json
import os
import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tests.bench.workload import Workload
from tests.chaos import workload as chaos
from tests.property.usage_event_inputs import AMOUNTS, FAULTS, Fault, Json, serialised, usages, valid_events
from tests.support import accounts
from tests.support.cores import BothCores
from tests.support.metered import Metered
from tests.support.usage import TIME_MS, event, record

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.pricing import load_price_book
from tollgate.ledger import ANY_AGE_MS
from tollgate.schemas.control import PriceRecord
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.scopes import escaped
from tollgate.schemas.topics import DAY_MS, Topic
from tollgate.schemas.vocabulary import Dimension

SEED = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))
EXAMPLES = int(os.environ.get("TOLLGATE_TEST_EXAMPLES", "40"))
# A batch of events takes many minutes to shrink; the one that was found says enough, and its seed finds it again. Who
# wants a small one sets TOLLGATE_TEST_SHRINK.
PHASES = [phase for phase in Phase if phase is not Phase.explain]
if "TOLLGATE_TEST_SHRINK" not in os.environ:
    PHASES.remove(Phase.shrink)
many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=PHASES,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)

BOOK = load_price_book("default")
HOME = [user for user in (f"u{n}" for n in range(100)) if partition_of(user.encode(), 8) == 0]
AWAY = next(user for user in (f"u{n}" for n in range(100)) if partition_of(user.encode(), 8) == 5)
# Linear, tiered, with options, with a minimum or once per event, free of charge, decimal, and unknown.
MODELS = [
    ("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-5"), ("openai", "dall-e-3"), ("pika", "1.5"),
    ("google", "gemini-2.5-pro"), ("elevenlabs", "tts"), ("openai", "gpt-99"), ("nobody", 'mo"del'), ("", ""),
    ("xai", "grok-4.20"), ("openai", "gpt-realtime-mini"),
]  # fmt: skip
LOOKALIKES = ["chat", "a+model/x", "a%2Bmodel/x", "a/b+c", "+user/", "a+b", "meta/llama", "%252Buser/z", "50%/+"]
DIMENSIONS = [
    "input_tokens", "cached_input_tokens", "cache_write_tokens", "input_audio_tokens", "output_tokens",
    "reasoning_tokens", "cache_write_1h_tokens", "cache_audio_read_tokens", "prompt_tokens", "cached_tokens",
    "completion_tokens", "cache_read_input_tokens", "prompt_token_count", "thoughts_token_count",
    "accepted_prediction_tokens", "prompt_cache_miss_tokens", "images", "video_seconds", "characters", "requests",
    "total_tokens", "parsecs",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _print_seed() -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}")


@st.composite
def events(draw: st.DrawFn) -> Json:
    """A valid event, most of them ordinary: of few users, names and ids, so that they repeat and contradict."""
    made = draw(valid_events())
    data = made["data"]
    made["subject"] = draw(st.sampled_from([*HOME[:4], *HOME[:4], AWAY]))
    made["id"] = draw(st.sampled_from(["a", "b", "ü", "é" * 200, made["id"]]))
    made["source"] = draw(st.sampled_from(["s", "日本", made["source"]]))
    made["time"] = draw(st.sampled_from(TIMES))
    if not draw(st.integers(0, 3)):
        # Names that look like combinations, or nearly.
        data |= {"org": draw(st.sampled_from(LOOKALIKES)), "feature": draw(st.sampled_from(LOOKALIKES))}
    plain = draw(st.booleans())
    if plain:
        # Without what only Python reads.
        for name in ("retail_tokens", "unknown_field", "metadata"):
            data.pop(name, None)
        made.pop("x", None)
    if draw(st.integers(0, 3)):
        provider, model = draw(st.sampled_from(MODELS))
        data |= {"provider": provider, "model": model, "agent": draw(st.sampled_from(["SEO", "x"]))}
        data["usage"] = draw(
            usages(st.sampled_from(DIMENSIONS), st.integers(0, 300_000) | AMOUNTS, min_size=1, max_size=5)
        )
    return made


TIMES = [
    "2026-11-21T10:00:00Z", "2026-11-21T10:59:59.999Z", "2026-11-21T09:59:59.999Z", "2026-11-21T12:00:00.5+02:00",
    "2026-11-21t10:00:00z", "2026-11-21 10:05:00.000Z", "2026-11-21T10:05:00.001Z", "2026-11-18T09:59:59Z",
    "2026-11-18T10:00:00.120Z", "2026-09-20T00:00:00Z", "2026-09-19T23:59:59.1Z", "2024-10-01T00:00:00Z",
    "2024-09-30T23:59:59Z", "2024-02-29T23:30:00-00:30", "1970-01-01T00:00:00Z", "2026-02-28T24:00:00Z",
]  # fmt: skip


def fetched(values: list[bytes | None], timestamps: Iterator[int]) -> list[ConsumerRecord]:
    """The values as they come from Kafka, one after another."""
    return [record(value, offset, timestamp=next(timestamps)) for offset, value in enumerate(values)]


def clock(rnd: random.Random) -> Iterator[int]:
    """Broker timestamps: mostly the same second, sometimes an hour later or a moment back."""
    now = TIME_MS
    while True:
        now += rnd.choice([0, 0, 0, 1, 999, 3_600_000, -1500])
        yield now


@seed(SEED)
@many
@given(batches=st.lists(st.lists(events(), min_size=1, max_size=8), min_size=1, max_size=2), rnd=st.randoms())
def test_both_cores_write_the_same_bytes_for_any_events(batches: list[list[Json]], rnd: random.Random) -> None:
    age_ms_max = rnd.choice([ANY_AGE_MS, 3 * DAY_MS, 62 * DAY_MS])
    both, timestamps = BothCores(BOOK, event_age_ms_max=age_ms_max), clock(rnd)
    for batch in batches:
        # Budgets arrive and go at any moment, also between a batch's events and its transaction.
        both.set_budgets(budgets(rnd))
        both.apply(fetched([serialised(e, spaced=rnd.random() < 0.2) for e in batch], timestamps))
        if rnd.random() < 0.5:
            both.set_budgets(budgets(rnd))
            both.apply(fetched([serialised(e) for e in batch[::-1]], timestamps))
        both.write(TIME_MS)


def budgets(rnd: random.Random) -> Metered:
    """Budgets on none to eight combinations of two or three names or stars, in some calendars."""
    calendars: dict[str, list[str]] = {}
    for _ in range(rnd.choice([0, 1, 2, 4, 8])):
        chosen = rnd.sample(list(Dimension), rnd.choice([2, 3]))
        names = [(d, rnd.choice(["*", "*", *NAMES.get(d, ["x"])])) for d in Dimension if d in chosen]
        scope = "+".join(f"{dimension.value}/{escaped(name)}" for dimension, name in names)
        calendars[scope] = rnd.sample(["hour", "day", "month", "lifetime"], rnd.randint(0, 4))
    return Metered(calendars)


NAMES = {
    Dimension.USER: HOME[:4], Dimension.ORG: LOOKALIKES, Dimension.FEATURE: LOOKALIKES,
    Dimension.MODEL: [model for _, model in MODELS if model], Dimension.AGENT: ["SEO", "x"],
}  # fmt: skip


@seed(SEED)
@settings(many, max_examples=EXAMPLES * 2)
@given(event=events(), ascii_only=st.booleans(), data=st.data())
def test_both_cores_judge_damaged_bytes_alike(event: Json, ascii_only: bool, data: st.DataObject) -> None:
    both = BothCores(BOOK)
    values: list[bytes | None] = [serialised(event)]
    for _ in range(6):
        value = bytearray(serialised(event, ascii_only=ascii_only))
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(value)))
            value[at : at + data.draw(st.integers(0, 3))] = data.draw(st.sampled_from(PIECES))
        values.append(bytes(value))
    both.apply(fetched([*values, None], clock(random.Random(SEED))))
    both.write(TIME_MS)


PIECES = [
    b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"-", b"0", b"9" * 30, b"1e400", b"1.0",
    b"NaN", b"\xff", b"\x00", b"\x1f", b"\x7f", b"\xc2\x85", b"\\ud800", b"\\u0000", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b"[" * 40, b'"id":"x",', b'"data":null,', b'"time_ms":5,', b'"time_ms":"x",', b'"usage":{},', b'"usage":null,',
    b'"images":1,', b'"images":"2.50",', b'"images":"3",', b'"provider":"",', b'"billed":true,', b'"x":1,', b'"x":"1",',
    b" ", b"\n", b"\x0b", b"\xc2\xa0", b"/*x*/", b"'", b"1e5", b"-0", b"01", b'"a":' * 40, b'{"a":' * 40,
]  # fmt: skip


@seed(SEED)
@settings(many, max_examples=5)
@given(event=events())
def test_both_cores_refuse_every_fault_alike(event: Json) -> None:
    both, values = BothCores(BOOK), []
    for fault in FAULTS:
        broken = json.loads(serialised(event))
        _try(fault, broken)
        values.append(serialised(broken))
    both.apply(fetched(list(values), clock(random.Random(SEED))))
    both.write(TIME_MS)


def _try(fault: Fault, event: Any) -> None:
    try:
        fault.apply(event)
    except (TypeError, AttributeError):
        return  # what the fault changes is not an object here


def test_both_cores_write_the_same_of_a_products_traffic() -> None:
    both, rnd = BothCores(BOOK), random.Random(SEED)
    sent = [r for r in Workload(SEED, 12_000, users=500).records() if partition_of(r[0], 8) == 0]
    now_ms = 2_000_000_000_000
    for first in range(0, len(sent), 700):
        both.set_budgets(budgets(rnd))
        batch = [record(v, first + n, key=k, timestamp=now_ms) for n, (k, v) in enumerate(sent[first : first + 700])]
        both.apply(batch)
        both.write(now_ms)
    assert both.counters["python"].counted > 1_000


def test_both_cores_write_the_same_while_everything_goes_wrong() -> None:
    both, rnd = BothCores(BOOK), random.Random(SEED)
    sent = [r for r in islice(chaos.Workload(SEED).records(), 12_000) if (r.topic, r.partition) == ("usage", 0)]
    now_ms = 1_000 * int(chaos.Workload(SEED).start.timestamp())
    for first in range(0, len(sent), 500):
        if rnd.random() < 0.2:
            # Prices arrive and go while events are counted.
            both.set_prices(BOOK.with_prices(chaos_prices(rnd)))
        if rnd.random() < 0.2:
            both.set_budgets(budgets(rnd))
        batch = [
            record(r.value, first + n, key=r.key, timestamp=now_ms) for n, r in enumerate(sent[first : first + 500])
        ]
        both.apply(batch)
        both.write(now_ms)
    assert both.counters["python"].counted > 1_000
    assert both.counters["python"].forwarded > 0


def test_both_cores_write_the_same_of_reservations_and_credits_between_events() -> None:
    both, rnd, now_ms, number = BothCores(BOOK), random.Random(SEED), TIME_MS, 0
    granted = denied = 0
    for n in range(150):
        if n == 0 or rnd.randrange(6) == 0:
            both.set_budgets(limits(rnd))
        sent = [account_entry(rnd, number + n) for n in range(rnd.randrange(1, 40))]
        number += len(sent)
        now_ms += rnd.choice((0, 1, 900, 70_000))
        # Some of it again, in another order.
        values = [*sent, *rnd.sample(sent, len(sent) // 8)]
        both.apply([record(value, number + n, timestamp=now_ms) for n, value in enumerate(values)])
        if rnd.randrange(3) == 0:
            user, amount = rnd.choice(accounts.USERS[:3]), rnd.choice(("50", "400.5", "-3", "0"))
            both.apply_entries([record(accounts.credit(f"c{number}", amount, user), timestamp=now_ms)])
        if rnd.randrange(4):
            written = both.write(now_ms)
            places = [records for (topic, _), records in written.records.items() if topic is Topic.DECISIONS]
            decisions = [json.loads(value or b"") for records in places for _, value, _ in records]
            granted += sum(decision["granted"] for decision in decisions)
            denied += sum(not decision["granted"] for decision in decisions)
        both.tick(now_ms)
    both.write(now_ms)
    assert min(granted, denied) > 0, (granted, denied)


def account_entry(rnd: random.Random, number: int) -> Json:
    """Mostly ordinary usage; else a reservation, its release, usage of one, also of a later one, or rubbish."""
    user, about = rnd.choice(accounts.USERS[:3]), f"r{rnd.randrange(max(0, number - 60), number + 10)}"
    names: dict[str, Any] = {"feature": rnd.choice(("video", "chat"))}
    kind = rnd.randrange(12)
    if kind < 3:
        usd, credits_asked = rnd.choice((("0.001", {}), (None, {"credits": 3}), ("0.02", {"credits": "1.5"})))
        return accounts.reservation(
            f"r{number}", usd, user, ttl_seconds=rnd.choice((1, 60, 0)), **names, **credits_asked
        )
    if kind == 3:
        return accounts.release(about, user)
    if kind < 6:
        names |= {"reservation_id": about, "more": rnd.random() < 0.3}
    if kind == 6:
        names |= {"retail_tokens": rnd.choice((1, "2.5"))}
    made = accounts.usage(f"e{number}", user, **names)
    return made | ({"type": "tollgate.revenue.v1"} if kind == 7 else {})


def limits(rnd: random.Random) -> BudgetBook:
    """A user's limits, alone and for a feature, with free credits or without."""
    given = [
        {"scope": scope, "limit": str(rnd.randrange(1, 9) * (1 if unit == "usd" else 200)), "unit": unit}
        for scope in ("user/*", "user/*+feature/video")
        for unit in rnd.sample(("usd", "events", "credits"), 2)
    ]
    return accounts.policy(*given, free=rnd.choice(((0, "UTC"), (4 * 10**9, "Asia/Tokyo")))).budgets


def chaos_prices(rnd: random.Random) -> list[PriceRecord]:
    """Some prices for some models of the chaos workload: linear ones, some a fraction of a picodollar per unit."""
    rates = {
        "alpha": [("input_tokens", "2.5", "1000"), ("cached_input_tokens", "0.1", "3000"), ("output_tokens", "1", "7")],
        "beta": [("images", "0.04", "1")],
        "gamma": [("video_seconds", "0.1", "3")],
    }  # fmt: skip
    return [
        PriceRecord.model_validate(
            {
                "provider": chaos.PROVIDER,
                "model": model,
                "rates": [{"dimension": d, "usd": usd, "per": per} for d, usd, per in of_model],
                "effective_from": "2020-01-01T00:00:00Z",
                "source": "test",
            }
        )
        for model, of_model in rates.items()
        if rnd.random() < 0.6
    ]


def test_both_cores_alert_a_model_again_when_its_price_was_only_for_a_time() -> None:
    unknown = {"provider": "openai", "model": "gpt-99"}
    price = PriceRecord.model_validate(
        {
            "provider": "openai",
            "model": "gpt-99",
            "rates": [{"dimension": d, "usd": "1", "per": "1000000"} for d in ("input_tokens", "output_tokens")],
            "effective_from": "2026-11-21T09:00:00Z",
            "source": "test",
        }
    )
    both = BothCores(BOOK)
    both.apply([record(event("e1", HOME[0], data=unknown))])
    assert len(both.write(TIME_MS).records[Topic.ALERTS, 0]) == 1
    both.set_prices(BOOK.with_prices([price]))
    old = "2026-11-21T08:00:00Z"
    both.apply([record(event("e2", HOME[0], data=unknown, time=old), 1)])
    assert len(both.write(TIME_MS).records[Topic.ALERTS, 0]) == 1
    both.apply([record(event("e3", HOME[0], data=unknown, time=old), 2)])
    assert len(both.write(TIME_MS).records[Topic.ALERTS, 0]) == 1
    assert parse_instant(old) < TIME_MS
