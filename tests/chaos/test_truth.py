"""The checker's own arithmetic, against numbers worked out by hand."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tests.chaos.schedule import deeds
from tests.chaos.truth import Truth, cost_of, kept, window_start
from tests.chaos.workload import Record, Workload
from tests.support.usage import event

from tollgate.schemas.partitions import partition_of

START = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOME = partition_of(b"u1", 8)


def usage(event_id: str, age: timedelta = timedelta(0), **data: object) -> bytes:
    """One image of 0.04 USD."""
    given = {"provider": "chaos", "model": "beta", "usage": {"images": 1}, **data}
    return json.dumps(event(event_id, "u1", time=(START - age).isoformat(), data=given) | {"data": given}).encode()


def test_a_cost_is_what_the_price_list_says() -> None:
    # 1,000 − 400 = 600 at 2.5, 400 at 1.25, 100 at 10 per million: 0.0015 + 0.0005 + 0.001.
    tokens = {"input_tokens": 1000, "cached_input_tokens": 400, "output_tokens": 100}
    assert cost_of({"model": "alpha", "usage": tokens}) == (Decimal("0.003"), "priced")
    assert cost_of({"model": "alpha", "usage": tokens, "status": "error"}) == (Decimal(0), "priced")
    # A third of 0.1 has no end: half to even at 10⁻¹².
    assert cost_of({"model": "gamma", "usage": {"video_seconds": "1"}}) == (Decimal("0.033333333333"), "priced")
    # 100 at 2.5 and 10 at 10 per million, 3 at 0.0003: 0.00025 + 0.0001 + 0.0009.
    unknown = {"input_tokens": 100, "output_tokens": 10, "characters": 3}
    assert cost_of({"model": "omega", "usage": unknown}) == (Decimal("0.00125"), "unpriced")
    assert cost_of({"model": "delta", "usage": {}, "cost_usd": "0.5"}) == (Decimal("0.5"), "reported")


def test_the_first_of_an_identity_counts_and_other_data_is_a_conflict() -> None:
    truth = Truth(8, START)
    for value in (usage("a"), usage("a"), usage("a", operation="x"), b"{", usage("b")):
        truth.take(HOME, value)
    # In a wrong partition it only waits to be forwarded.
    truth.take((HOME + 1) % 8, usage("c"))
    assert sorted(truth.counted) == ["a", "b"]
    assert truth.refused == {"conflict": 1, "not_json": 1}
    assert truth.users == {"u1": (2, Decimal("0.08"))}
    assert truth.spent("user/u1", "month", "2026-11-01T00:00:00Z") == Decimal("0.08")


def test_an_old_event_is_counted_where_its_windows_are_held() -> None:
    truth = Truth(8, START)
    for number, age in enumerate((timedelta(hours=1), timedelta(hours=100), timedelta(days=70), timedelta(days=900))):
        truth.take(HOME, usage(str(number), age))
    kinds = sorted(key.split("|")[1] for key in truth.windows if key.startswith("global|"))
    assert kinds == ["day", "day", "hour", "lifetime", "month", "month"]
    assert truth.windows["global|lifetime|1970-01-01T00:00:00Z"][:2] == (Decimal("0.16"), 4)
    assert truth.windows["global|month|2026-11-01T00:00:00Z"][:2] == (Decimal("0.08"), 2)


def test_what_a_scope_does_not_keep_apart_is_compared_as_other() -> None:
    key, lifetime = "user/u1|hour|2026-11-25T10:00:00Z", "user/u1|lifetime|1970-01-01T00:00:00Z"
    usage = {f"k{n}": Decimal(n) for n in range(200)}
    names = {f"k{n}": Decimal(n) for n in range(10, 138)}
    # 0 to 9 and 138 to 199: 45 and 10,447.
    found = {lifetime: (Decimal(1), 1, names | {"other": Decimal(10_492)})}
    expected = {lifetime: (Decimal(1), 1, usage), key: (Decimal(1), 1, {"k9": Decimal(3), "k10": Decimal(1)})}
    assert kept(expected, found) == found | {key: (Decimal(1), 1, {"other": Decimal(3), "k10": Decimal(1)})}
    # A scope that is not full has no reason to add anything up.
    assert kept(expected, {lifetime: (Decimal(1), 1, {"other": Decimal(5)})}) == expected


def test_what_kafka_lost_and_what_nobody_sent_is_seen() -> None:
    truth = Truth(8, START)
    lost, other = Record(HOME, b"u1", usage("lost"), "lost"), Record(HOME, b"u1", usage("other"), "other")
    for record in (lost, other):
        truth.offer(record)
    truth.acknowledge([lost])
    truth.take(HOME, usage("other", operation="changed"))
    assert truth.unlike_what_was_sent() == [
        "event lost was acknowledged and is not in its partition",
        "event other was never sent with the data it is counted with",
    ]


def test_windows_start_where_the_calendar_says() -> None:
    time = datetime(2026, 11, 25, 12, 34, 56, 789000, tzinfo=UTC)
    assert [window_start(kind, time) for kind in ("hour", "day", "month", "lifetime")] == [
        "2026-11-25T12:00:00Z",
        "2026-11-25T00:00:00Z",
        "2026-11-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
    ]


def test_a_seed_repeats_the_faults_and_the_workload() -> None:
    def drawn(seed: int) -> tuple[object, object]:
        dealt = deeds(seed, {"a": 3, "b": 1})
        records = Workload(seed, start=START).records()
        return [next(dealt) for _ in range(9)], [next(records) for _ in range(200)]

    assert drawn(5) == drawn(5)
    assert drawn(5)[0] != drawn(6)[0]
    # A deck is dealt to its end before it is shuffled again.
    kinds = [deed.kind for deed in drawn(5)[0]]  # type: ignore[attr-defined] # the first is the list of deeds
    assert kinds[:4].count("b") == kinds[4:8].count("b") == 1
