"""The first stage, record by record: what is counted, refused, forwarded and written."""

import json
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from tests.support.cores import CORES
from tests.support.usage import TIME_MS, event, record

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.ledger import Counters, Policy
from tollgate.ledger.core import Core
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.shared_stage import SharedStage
from tollgate.ledger.user_stage import UserStage
from tollgate.schemas.control import BudgetRecord, PriceRecord
from tollgate.schemas.outputs import Alert, PricedEvent, SpendRecord
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import DAY_MS, Topic

BOOK = load_price_book("default")
USERS = [u for u in (f"u{n}" for n in range(200)) if partition_of(u.encode(), 8) == 0]
USER = USERS[0]
STRANGER = next(u for u in (f"u{n}" for n in range(200)) if partition_of(u.encode(), 8) == 3)


def policy(*budgets: dict[str, Any]) -> Policy:
    book = BudgetBook(
        Budget.from_record(BudgetRecord.model_validate(b | {"updated_at": "2026-11-01T00:00:00Z"})) for b in budgets
    )
    return Policy(book, lambda: Pricer(BOOK))


@pytest.fixture(autouse=True, params=CORES)
def _core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test holds for either core."""
    monkeypatch.setattr(Bench, "core", request.param)


class Bench:
    """A stage for partition 0 and everything it wrote so far."""

    core: Core = "python"

    def __init__(self, *budgets: dict[str, Any], partition: int = 0) -> None:
        self.counters = Counters()
        self.stage = UserStage(partition, policy(*budgets), self.counters, core=self.core)
        self.rows: dict[str, bytes] = {}
        self.identities: list[bytes] = []
        self.numbers: dict[str, int] | None = None
        self.offset = 0

    def send(self, *values: Any, timestamp: int = TIME_MS) -> None:
        records = [v if isinstance(v, ConsumerRecord) else record(v, timestamp=timestamp) for v in values]
        for r in records:
            object.__setattr__(r, "offset", self.offset)
            self.offset += 1
        self.stage.apply(records)

    def write(self, now_ms: int = TIME_MS) -> Outbox:
        outbox = Outbox()
        self.numbers = self.stage.write(outbox, now_ms)
        for key, value, _ in outbox.records.get((Topic.USER_STATE, 0), []):
            assert key is not None
            if value is None:
                self.rows.pop(key.decode(), None)
            else:
                self.rows[key.decode()] = value
        self.identities += [v for _, v, _ in outbox.records.get((Topic.IDENTITIES, 0), []) if v is not None]
        return outbox

    def restarted(self) -> "Bench":
        other = Bench()
        other.stage.restore(dict(self.rows), self.numbers)
        for rows in self.identities:
            other.stage.remember(rows)
        other.rows, other.identities, other.offset = self.rows, self.identities, self.offset
        return other


def values(outbox: Outbox, topic: Topic, partition: int = 0) -> list[Any]:
    return [json.loads(value) for _, value, _ in outbox.records.get((topic, partition), []) if value is not None]


def spend(outbox: Outbox) -> dict[str, dict[str, Any]]:
    found = {}
    for key, value, _ in outbox.records.get((Topic.SPEND, 0), []):
        assert key is not None
        assert value is not None
        SpendRecord.model_validate_json(value)
        found[key.decode()] = json.loads(value)
    return found


def reasons(outbox: Outbox) -> list[str]:
    return [dict(headers)["reason"].decode() for _, _, headers in outbox.records.get((Topic.DEAD_LETTERS, 0), [])]


def test_an_event_is_priced_and_counted_in_every_window() -> None:
    bench = Bench()
    bench.send(event("e1", USER))
    outbox = bench.write()
    (priced,) = values(outbox, Topic.PRICED)
    PricedEvent.model_validate(priced)
    assert (priced["cost_usd"], priced["price_status"], priced["user"]) == ("0.0035", "priced", USER)
    sums = spend(outbox)
    assert set(sums) == {
        f"user/{USER}|hour|2026-11-21T10:00:00Z",
        f"user/{USER}|day|2026-11-21T00:00:00Z",
        f"user/{USER}|month|2026-11-01T00:00:00Z",
        f"user/{USER}|lifetime|1970-01-01T00:00:00Z",
    }
    for value in sums.values():
        assert (value["spent_usd"], value["events"]) == ("0.0035", 1)
        assert value["usage"] == {"input_tokens": "1000", "output_tokens": "100"}


def test_the_same_identity_counts_once_whatever_its_time() -> None:
    bench = Bench()
    bench.send(event("e1", USER), event("e1", USER, time="2026-11-21T09:00:00Z"))
    bench.write()
    bench.send(event("e1", USER))
    outbox = bench.write()
    assert bench.counters.duplicates == 2
    assert bench.counters.counted == 1
    assert (Topic.PRICED, 0) not in outbox.records


def test_the_same_id_of_another_source_is_another_event() -> None:
    bench = Bench()
    bench.send(event("e1", USER), event("e1", USER, source="other"))
    assert len(values(bench.write(), Topic.PRICED)) == 2


def test_other_data_under_a_counted_identity_is_a_conflict() -> None:
    bench = Bench()
    bench.send(event("e1", USER), event("e1", USER, data={"usage": {"input_tokens": 1}}))
    outbox = bench.write()
    assert reasons(outbox) == ["conflict"]
    assert len(values(outbox, Topic.PRICED)) == 1


def test_an_identity_counts_again_a_second_after_its_35_days() -> None:
    bench = Bench()
    horizon_ms = 35 * 24 * 60 * 60 * 1000
    bench.send(event("e1", USER))
    bench.send(event("e1", USER), timestamp=TIME_MS + horizon_ms)
    assert bench.counters.duplicates == 1
    bench.send(event("e1", USER), timestamp=TIME_MS + horizon_ms + 1000)
    bench.write()
    assert bench.counters.counted == 2


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"not json", "not_json"),
        (b"\xff\xfe{}", "invalid_utf8"),
        (None, "null_value"),
        (b"x" * 70 * 1024, "too_large"),
        (event("e", USER, data={"usage": {"input_tokens": -1}}), "negative_usage"),
        (event("e", USER, data={"usage": {"input_tokens": "many"}}), "invalid"),
        (event("e", USER, data={"provider": 7}), "wrong_type"),
        (event("e", USER, time="2026-11-21T10:00:00"), "invalid_time"),
        (event("e", USER, time="2026-11-21T10:05:00.001Z"), "future"),
    ],
)
def test_bad_input_is_kept_with_its_reason_and_the_stream_goes_on(value: Any, reason: str) -> None:
    bench = Bench()
    bad = record(value, key=USER.encode())
    bench.send(bad, event("good", USER))
    outbox = bench.write()
    assert reasons(outbox) == [reason]
    letters = outbox.records[Topic.DEAD_LETTERS, 0]
    assert letters[0][1] == bad.value
    assert len(values(outbox, Topic.PRICED)) == 1


def test_five_minutes_ahead_of_the_broker_is_not_yet_the_future() -> None:
    bench = Bench()
    bench.send(event("e", USER, time="2026-11-21T10:05:00Z"))
    assert len(values(bench.write(), Topic.PRICED)) == 1


def test_a_record_in_the_wrong_partition_is_sent_home_uncounted() -> None:
    bench = Bench()
    bench.send(record(event("e1", STRANGER), key=b"another key"))
    outbox = bench.write()
    ((key, value, headers),) = outbox.records[Topic.USAGE, 3]
    assert key == STRANGER.encode()
    assert json.loads(value or b"")["id"] == "e1"
    assert dict(headers) == {"tollgate-forwarded-from": b"0:0"}
    assert (Topic.PRICED, 0) not in outbox.records


def test_a_record_that_was_forwarded_and_is_wrong_again_is_a_dead_letter() -> None:
    bench = Bench()
    bench.send(record(event("e1", STRANGER), headers=(("tollgate-forwarded-from", b"5:1"),)))
    assert reasons(bench.write()) == ["misrouted"]


def test_a_record_without_its_users_key_in_the_right_partition_is_counted() -> None:
    bench = Bench()
    bench.send(record(event("e1", USER), key=b"another key"))
    outbox = bench.write()
    ((key, _, _),) = outbox.records[Topic.PRICED, 0]
    assert key == USER.encode()


def test_an_unknown_model_is_counted_marked_and_alerted_once() -> None:
    bench = Bench()
    unknown = {"provider": "openai", "model": "gpt-99-nobody-knows"}
    bench.send(event("e1", USER, data=unknown), event("e2", USER, data=unknown))
    first = bench.write()
    bench.send(event("e3", USER, data=unknown))
    assert [p["price_status"] for p in values(first, Topic.PRICED)] == ["unpriced", "unpriced"]
    assert all(p["cost_usd"] != "0" for p in values(first, Topic.PRICED))
    assert [a["key"] for a in values(first, Topic.ALERTS)] == ["unpriced/openai/gpt-99-nobody-knows"]
    assert values(bench.write(), Topic.ALERTS) == []
    again = bench.restarted()
    again.send(event("e4", USER, data=unknown))
    assert values(again.write(), Topic.ALERTS) == []


def test_the_alert_for_an_unknown_model_resolves_when_its_price_arrives() -> None:
    bench = Bench()
    unknown = {"provider": "openai", "model": "gpt-99-nobody-knows"}
    bench.send(event("e1", USER, data=unknown))
    (fired,) = values(bench.write(), Topic.ALERTS)
    price = PriceRecord.model_validate(
        {
            "provider": "openai",
            "model": "gpt-99-nobody-knows",
            "rates": [{"dimension": d, "usd": "1", "per": "1000000"} for d in ("input_tokens", "output_tokens")],
            "effective_from": "2026-11-01T00:00:00Z",
            "source": "test",
        }
    )
    book = BOOK.with_prices([price])
    bench = bench.restarted()
    bench.stage.set_policy(Policy(BudgetBook(), lambda: Pricer(book)))
    assert bench.stage.pending()
    (resolved,) = values(bench.write(TIME_MS + 1), Topic.ALERTS)
    assert (fired["key"], fired["level"]) == (resolved["key"], "warning")
    assert (resolved["level"], resolved["revision"] > fired["revision"]) == ("resolved", True)
    Alert.model_validate(resolved)
    assert not bench.stage.pending()
    bench.send(event("e2", USER, data=unknown))
    (priced,) = values(bench.write(), Topic.PRICED)
    # 1,000 + 100 tokens at 1 USD per million.
    assert (priced["price_status"], priced["cost_usd"]) == ("priced", "0.0011")


def test_another_budget_holds_at_once_and_keeps_the_prices_that_were_looked_up() -> None:
    pricers: list[Pricer] = []

    def new_pricer() -> Pricer:
        pricers.append(Pricer(BOOK))
        return pricers[-1]

    bench = Bench()
    prices = replace(policy(), new_pricer=new_pricer)
    bench.stage.set_policy(prices)
    bench.send(event("e1", USER))
    bench.write()
    bench.stage.set_policy(replace(prices, budgets=policy({"scope": "user/*", "limit": "0.001"}).budgets))
    assert len(pricers) == 1
    (flag,) = values(bench.write(), Topic.FLAGS)
    assert flag["state"] == "blocked"
    bench.stage.set_policy(replace(prices, new_pricer=lambda: Pricer(BOOK)))
    bench.send(event("e2", USER))
    assert len(values(bench.write(), Topic.PRICED)) == 1


# Ten in the morning of 21 November less two days.
@pytest.mark.parametrize(("time", "counted"), [("2026-11-19T10:00:00Z", 1), ("2026-11-19T09:59:59.999Z", 0)])
def test_an_event_may_be_as_old_as_the_setting_says_and_no_older(time: str, counted: int) -> None:
    bench = Bench()
    bench.stage.set_policy(replace(policy(), event_age_ms_max=2 * DAY_MS))
    bench.send(event("e1", USER, time=time))
    outbox = bench.write()
    assert len(values(outbox, Topic.PRICED)) == len(bench.identities) == counted
    letters = outbox.records.get((Topic.DEAD_LETTERS, 0), [])
    assert [dict(headers)["reason"] for _, _, headers in letters] == [b"too_old"] * (1 - counted)


def test_without_the_setting_events_of_any_age_are_counted_and_one_that_was_too_old_may_come_again() -> None:
    bench = Bench()
    first = event("e1", USER, time="1970-01-01T00:00:00Z")
    bench.stage.set_policy(replace(policy(), event_age_ms_max=3650 * DAY_MS))
    bench.send(first)
    assert values(bench.write(), Topic.PRICED) == []
    bench.stage.set_policy(policy())
    bench.send(first)
    assert [priced["time"] for priced in values(bench.write(), Topic.PRICED)] == ["1970-01-01T00:00:00Z"]


def test_a_record_that_the_broker_stamps_100_days_ahead_does_not_make_its_event_too_old() -> None:
    bench = Bench()
    bench.stage.bound_clock(TIME_MS)
    bench.stage.set_policy(replace(policy(), event_age_ms_max=30 * DAY_MS))
    bench.send(event("e1", USER), timestamp=TIME_MS + 100 * DAY_MS)
    bench.send(event("e2", USER))
    assert len(values(bench.write(), Topic.PRICED)) == 2


def test_a_budget_blocks_in_the_batch_that_crosses_it() -> None:
    bench = Bench({"scope": f"user/{USER}", "limit": "0.01", "window": "month"})
    bench.send(*(event(f"e{n}", USER) for n in range(2)))
    assert values(bench.write(), Topic.FLAGS) == []
    bench.send(event("e3", USER))
    (flag,) = values(bench.write(), Topic.FLAGS)
    assert (flag["state"], flag["spent"], flag["percent"]) == ("blocked", "0.0105", "105.00")


def test_a_budget_that_is_set_later_blocks_without_a_new_event() -> None:
    bench = Bench()
    bench.send(event("e1", USER))
    bench.write()
    bench.stage.set_policy(policy({"scope": "user/*", "limit": "0.001", "window": "day"}))
    (flag,) = values(bench.write(), Topic.FLAGS)
    assert (flag["state"], flag["budget"]) == ("blocked", "user/*:day:usd")


def test_a_restart_goes_on_where_the_last_transaction_ended() -> None:
    bench = Bench({"scope": f"user/{USER}", "limit": "0.01", "window": "month"})
    bench.send(*(event(f"e{n}", USER) for n in range(3)))
    bench.write()
    bench.send(event("lost", USER))
    successor = bench.restarted()
    successor.stage.set_policy(policy({"scope": f"user/{USER}", "limit": "0.01", "window": "month"}))
    successor.send(event("lost", USER), event("e1", USER))
    outbox = successor.write()
    assert successor.counters.duplicates == 1
    assert spend(outbox)[f"user/{USER}|month|2026-11-01T00:00:00Z"]["spent_usd"] == "0.014"
    (flag,) = values(outbox, Topic.FLAGS)
    assert (flag["spent"], flag["revision"]) == ("0.014", 2)


def test_spend_records_that_a_crash_left_unwritten_are_written_by_the_successor() -> None:
    bench = Bench()
    bench.send(*(event(f"e{n}", user) for n, user in enumerate(USERS)))
    many = [f"user-{n}" for n in range(6_000) if partition_of(f"user-{n}".encode(), 8) == 0]
    bench.send(*(event(f"m{n}", user) for n, user in enumerate(many)))
    written = spend(bench.write())
    assert len(written) == 400
    successor = bench.restarted()
    while successor.stage.pending():
        written |= spend(successor.write())
    wanted = {f"user/{user}|lifetime|1970-01-01T00:00:00Z" for user in (*USERS, *many)}
    assert {key for key in written if "|lifetime|" in key} == wanted
    assert all(value["spent_usd"] == "0.0035" for value in written.values())


def test_each_shared_scope_gets_one_sum_per_batch_and_global_gets_all() -> None:
    bench = Bench()
    bench.send(
        event("e1", USER, data={"agent": "SEO", "campaign": "x"}),
        event("e2", USER, data={"agent": "SEO", "org": "acme"}),
    )
    outbox = bench.write()
    stages = [SharedStage(p, policy()) for p in (0, 1)]
    spent = {}
    for stage in stages:
        partition = stages.index(stage)
        records = outbox.records.get((Topic.DELTAS, partition), [])
        stage.apply([record(value, n, partition=partition) for n, (_, value, _) in enumerate(records)])
        written = Outbox()
        stage.write(written, TIME_MS)
        for key, value, _ in written.records.get((Topic.SPEND, partition), []):
            assert key is not None
            if b"|month|" in key:
                spent[key.decode().split("|")[0]] = json.loads(value or b"")["spent_usd"]
    assert spent == {
        "global": "0.007",
        "agent/SEO": "0.007",
        "provider/openai": "0.007",
        "model/gpt-4o": "0.007",
        "campaign/x": "0.0035",
        "org/acme": "0.0035",
    }


def test_deltas_say_up_to_which_usage_offset_they_count_and_how_many_records_of_them_follow() -> None:
    bench = Bench()
    bench.send(event("e1", USER), event("e2", USER))
    bench.send(*(event(f"m{n}", USER, data={"campaign": f"c{n}"}) for n in range(21_000)))
    outbox = bench.write()
    said = {}
    for partition in (0, 1):
        said[partition] = [headers for _, _, headers in outbox.records[Topic.DELTAS, partition]]
    # 21,000 campaigns fall into two partitions of about 10,500 sums; a record holds 4,000 of them.
    for headers in said.values():
        assert len(headers) >= 3
        to_follow = range(len(headers) - 1, -1, -1)
        assert headers == [[("tollgate-counted-to", b"0:21002:%d" % following)] for following in to_follow]


def test_an_old_event_counts_in_the_windows_that_are_still_held() -> None:
    bench = Bench()
    bench.send(event("e1", USER, time="2026-11-10T10:00:00Z"))
    assert bench.counters.late == 1
    assert set(spend(bench.write())) == {
        f"user/{USER}|day|2026-11-10T00:00:00Z",
        f"user/{USER}|month|2026-11-01T00:00:00Z",
        f"user/{USER}|lifetime|1970-01-01T00:00:00Z",
    }


def test_options_that_change_no_price_are_counted() -> None:
    bench = Bench()
    told = {"service_tier": "flex", "colour": "red"}
    bench.send(*(event(f"e{i}", USER, data={"options": told}) for i in range(3)))
    bench.send(event("e3", USER, data={"options": {"service_tier": "default"}}))
    bench.write()
    # Three events, but one set of options: both are counted when its price is looked up.
    assert bench.counters.options_ignored == 2
