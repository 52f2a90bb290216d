"""The stop by hand in the second stage: at once, by the owner of `global` alone, and over restarts."""

import json
from typing import Any

from tests.support.usage import record

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.domain.stops import Stop
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.policy import Policy
from tollgate.ledger.scopes import DECISIONS_MAX
from tollgate.ledger.shared_stage import Delta, SharedStage, in_records
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.topics import Topic

PRICER = Pricer(load_price_book("default"))
# 2026-11-21T10:00:00Z
TEN_MS = 1_795_255_200_000
STOP = Stop(True, "ada", "the provider bills twice")
GO_ON = Stop(False, "bob", "they have mended it")
# Of two partitions of shared scopes, `global` is in the second.
HOME, OTHER = 1, 0


def policy(stop: Stop | None, *scopes: str, limit: str = "100") -> Policy:
    book = BudgetBook(
        Budget.from_record(
            BudgetRecord.model_validate({"scope": scope, "limit": limit, "updated_at": "2026-11-01T00:00:00Z"})
        )
        for scope in scopes
    )
    return Policy(book, lambda: PRICER, stop=stop)


class Bench:
    """The second stage of a partition, and what it wrote: the rows of its state, flags and alerts in order."""

    def __init__(self, first: Policy, partition: int = HOME) -> None:
        self.partition = partition
        self.stage = SharedStage(partition, first, delta_partitions=2)
        self.rows: dict[str, bytes] = {}
        self.flags: list[dict[str, Any]] = []
        self.alerts: list[dict[str, Any]] = []
        self.numbers: dict[str, int] | None = None

    def spend(self, *scopes: str, usd: int = 1) -> None:
        deltas = [Delta(scope, TEN_MS, 4, usd * 10**12, 0, 1, {}) for scope in scopes]
        self.stage.apply([record(value, partition=self.partition) for value in in_records(TEN_MS, deltas)])

    def write(self, now_ms: int = TEN_MS) -> None:
        outbox = Outbox()
        self.numbers = self.stage.write(outbox, now_ms)
        for key, value, _ in outbox.records.get((Topic.SHARED_STATE, self.partition), []):
            assert key is not None
            self.rows.pop(key.decode(), None)
            if value is not None:
                self.rows[key.decode()] = value
        for topic, place, kept in ((Topic.FLAGS, self.partition, self.flags), (Topic.ALERTS, 0, self.alerts)):
            kept += [json.loads(value) for _, value, _ in outbox.records.get((topic, place), []) if value is not None]

    def restart(self, anew: Policy) -> None:
        self.stage = SharedStage(self.partition, anew, delta_partitions=2)
        self.stage.restore(dict(self.rows), self.numbers)

    def told(self) -> list[tuple[str, str, str]]:
        """Every flag and alert since the last call, in words."""
        found = [("flag", f["state"], f.get("note") or f["reason"]) for f in self.flags]
        found += [("alert", a["level"], a["reason"]) for a in self.alerts]
        self.flags, self.alerts = [], []
        return found


STOPPED = [
    ("flag", "stopped", "ada stopped all spending: the provider bills twice"),
    ("alert", "emergency", "ada stopped all spending: the provider bills twice"),
]
GOES_ON = [
    ("flag", "ok", "within_budget"),
    ("alert", "resolved", "bob let spending go on: they have mended it"),
]


def test_a_stop_is_pending_at_once_where_nothing_was_ever_spent() -> None:
    bench = Bench(policy(None))
    assert not bench.stage.pending()
    bench.stage.set_policy(policy(STOP))
    assert bench.stage.pending()
    bench.write()
    assert bench.told() == STOPPED
    assert not bench.stage.pending()


def test_a_worker_that_starts_for_the_first_time_tells_the_stop() -> None:
    bench = Bench(policy(STOP))
    assert bench.stage.pending()
    bench.write()
    assert bench.told() == STOPPED


def test_only_the_owner_of_global_decides_about_the_stop() -> None:
    bench = Bench(policy(STOP), partition=OTHER)
    assert not bench.stage.pending()
    bench.stage.set_policy(policy(GO_ON))
    bench.write()
    assert bench.told() == []


def test_a_restart_neither_repeats_nor_forgets_the_stop() -> None:
    bench = Bench(policy(STOP))
    bench.write()
    since = bench.flags[0]["since"]
    bench.told()
    bench.restart(policy(STOP))
    bench.write(TEN_MS + 60_000)
    assert bench.told() == []
    bench.stage.set_policy(policy(Stop(True, "eve", "still")))
    bench.write(TEN_MS + 120_000)
    assert bench.flags[0]["since"] == since
    assert (bench.flags[0]["revision"], bench.alerts[0]["revision"]) == (2, 2)
    bench.told()
    bench.restart(policy(GO_ON))
    bench.write(TEN_MS + 180_000)
    assert bench.told() == GOES_ON


def test_a_stop_that_begins_or_ends_while_no_worker_runs_is_told_at_the_start() -> None:
    bench = Bench(policy(None))
    bench.spend("global")
    bench.write()
    bench.restart(policy(STOP))
    bench.write()
    assert bench.told() == STOPPED
    # The setting was removed, which leaves nothing to read.
    bench.restart(policy(None))
    bench.write()
    assert bench.told() == [("flag", "ok", "within_budget"), ("alert", "resolved", "the setting was removed")]


def test_a_stop_that_no_transaction_wrote_is_told_after_the_crash() -> None:
    bench = Bench(policy(None))
    bench.spend("global")
    bench.write()
    rows, numbers = dict(bench.rows), bench.numbers
    bench.stage.set_policy(policy(STOP))
    bench.write()
    bench.told()
    bench.rows, bench.numbers = rows, numbers
    bench.restart(policy(STOP))
    bench.write()
    assert bench.told() == STOPPED


def test_the_stop_comes_before_the_scopes_that_wait() -> None:
    names = [f"agent/a{n}" for n in range(DECISIONS_MAX + 1)]
    bench = Bench(policy(None, *names, limit="0.5"))
    bench.spend(*names)
    bench.stage.set_policy(policy(STOP, *names, limit="0.5"))
    bench.write()
    assert bench.flags[0]["scope"] == "global"
    assert len(bench.flags) == DECISIONS_MAX


def test_usage_while_all_is_stopped_is_counted_and_decides_nothing_anew() -> None:
    bench = Bench(policy(STOP, "global"))
    bench.write()
    bench.told()
    bench.spend("global", "agent/SEO", usd=30)
    bench.write()
    assert bench.told() == []
    bench.spend("global", usd=60)
    bench.write()
    assert [(kind, level) for kind, level, _ in bench.told()] == [("alert", "warning")]
    bench.stage.set_policy(policy(GO_ON, "global"))
    bench.write()
    assert bench.told() == [("flag", "warning", "threshold_reached"), GOES_ON[1]]
