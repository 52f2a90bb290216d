"""Both stages without Kafka: two partitions of usage, one of shared scopes, and a sink that answers from the log."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec
from aiokafka import ConsumerRecord
from tests.support.usage import TIME, TIME_MS, event, record

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.pricing import PriceBook, Pricer, load_price_book
from tollgate.ledger import Counters, Policy
from tollgate.ledger.core import Core
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.shared_stage import SharedStage
from tollgate.ledger.user_stage import UserStage
from tollgate.schemas.amounts import NANO, PICO
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.meters import PAST_TYPE, MeterRecord
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.scopes import Dimension, parse_names, scope_of_all
from tollgate.schemas.topics import Topic

PARTITIONS: Final = 2
SHARED: Final = PARTITIONS
BOOK: Final[PriceBook] = load_price_book("default")
# Users of partition 0 and 1.
ANN, BOB = (next(u for u in (f"u{n}" for n in range(99)) if partition_of(u.encode(), PARTITIONS) == p) for p in (0, 1))

Step = Callable[["MeteredLedger"], None]
_read_meter: Final = msgspec.json.Decoder(MeterRecord).decode


def budget(scope: str, limit: str = "1", **changes: Any) -> dict[str, Any]:
    """A budget of a month that blocks at its limit in dollars."""
    return {"id": f"{scope}/{limit}/{changes}", "scope": scope, "limit": limit, "updated_at": TIME} | changes


class MeteredLedger:
    """Stages 0 and 1 are of users, stage 2 of shared scopes. What a stage has not written is lost when it restarts."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.policy = Policy(BudgetBook(), lambda: Pricer(BOOK))
        self.now_ms = TIME_MS
        self.usage: list[list[ConsumerRecord]] = [[] for _ in range(PARTITIONS)]
        self.entries: list[list[ConsumerRecord]] = [[] for _ in range(PARTITIONS)]
        self.deltas: list[ConsumerRecord] = []
        self.questions: dict[str, MeterRecord] = {}
        self.spend: dict[str, dict[str, Any]] = {}
        self.flags: dict[str, list[dict[str, Any]]] = {}
        self.stages: list[UserStage | SharedStage] = []
        # Of each stage: its rows, what its offset row remembers, how far it has read of its log and of entries.
        self._rows: list[dict[str, bytes]] = [{} for _ in range(PARTITIONS + 1)]
        self._numbers: list[dict[str, int] | None] = [None] * (PARTITIONS + 1)
        self._read = [(0, 0)] * (PARTITIONS + 1)
        self._identities: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
        self.stages = [self._made(number) for number in range(PARTITIONS + 1)]

    def _made(self, number: int) -> UserStage | SharedStage:
        if number == SHARED:
            return SharedStage(0, self.policy, delta_partitions=1, usage_partitions=PARTITIONS)
        return UserStage(number, self.policy, Counters(), PARTITIONS, 1, core=self.core)

    def restart(self, number: int) -> None:
        """The stage is killed and starts from what it has written."""
        numbers = self._numbers[number]
        stage = self.stages[number] = self._made(number)
        stage.restore(dict(self._rows[number]), numbers)
        self._read[number] = (numbers["next"], numbers["next_entries"]) if numbers is not None else (0, 0)
        for rows in self._identities[number] if number != SHARED else ():
            stage.remember(rows)

    def set_budgets(self, *budgets: dict[str, Any]) -> None:
        """Every stage gets these budgets now."""
        made = [Budget.from_record(BudgetRecord.model_validate(each)) for each in budgets]
        self.policy = Policy(BudgetBook(made), self.policy.new_pricer)
        for stage in self.stages:
            stage.set_policy(self.policy)

    def send(self, user: str, usd: str, *, time: str = TIME, **data: Any) -> None:
        """An event of the user is published; gpt-4o's if no model is among the data."""
        log = self.usage[partition_of(user.encode(), PARTITIONS)]
        sent = event(f"e{len(log)}", user, time=time, data={"cost_usd": usd, **data})
        log.append(record(sent, len(log), timestamp=self.now_ms))

    def count(self) -> None:
        """The user stages read everything, and write nothing."""
        for number in range(PARTITIONS):
            self._apply(number, self.usage[number], self.entries[number])

    def commit(self) -> None:
        """All stages read everything and write until nothing is left to do."""
        for _ in range(20):
            self.count()
            for number in range(PARTITIONS):
                self._write(number)
            self._apply(SHARED, self.deltas, [])
            self._write(SHARED)
            if not any(stage.pending() for stage in self.stages):
                return
        raise AssertionError("the stages write for ever")

    def _apply(self, number: int, log: list[ConsumerRecord], entries: list[ConsumerRecord]) -> None:
        stage, (next_offset, next_entry) = self.stages[number], self._read[number]
        if log[next_offset:]:
            stage.apply(log[next_offset:])
        if entries[next_entry:]:
            stage.apply_entries(entries[next_entry:])
        self._read[number] = (len(log), len(entries))

    def _write(self, number: int) -> None:
        outbox = Outbox()
        stage = self.stages[number]
        stage.tick(self.now_ms)
        next_offset, next_entry = self._read[number]
        self._numbers[number] = stage.write(outbox, self.now_ms) | {"next": next_offset, "next_entries": next_entry}
        for (topic, partition), records in outbox.records.items():
            for key, value, _ in records:
                self._written(number, topic, partition, (key or b"").decode(), value)

    def _written(self, number: int, topic: Topic, partition: int, key: str, value: bytes | None) -> None:
        if topic in (Topic.USER_STATE, Topic.SHARED_STATE):
            _put(self._rows[number], key, value)
        elif topic is Topic.IDENTITIES:
            assert value is not None
            self._identities[partition].append(value)
        elif topic is Topic.DELTAS:
            self.deltas.append(record(value, len(self.deltas), timestamp=self.now_ms))
        elif topic is Topic.METERS:
            _put(self.questions, key, _read_meter(value) if value is not None else None)
        elif topic is Topic.SPEND:
            said = json.loads(value) if value is not None else None
            if said is not None:
                del said["updated_at"]
            _put(self.spend, key, said)
        elif topic is Topic.FLAGS:
            assert value is not None
            self.flags.setdefault(key, []).append(json.loads(value))

    def answer(self, *, first: int = 0, last: int | None = None) -> None:
        """The sink answers what it was asked, with parts of one row; of each answer only these parts arrive."""
        for question in self.questions.values():
            if not question.filled:
                entries = self.entries[question.partition]
                for value in list(self._parts(question))[first:last]:
                    entries.append(record(value, len(entries), key=b"", timestamp=self.now_ms))

    def _parts(self, question: MeterRecord) -> Iterator[bytes]:
        rows = sorted(self._past(question).values())
        for part in range(max(len(rows), 1)):
            told = {"meter": question.meter, "from_offset": question.from_offset, "part": part}
            data = told | {"parts": max(len(rows), 1), "rows": rows[part : part + 1]}
            entry = {"specversion": "1.0", "type": PAST_TYPE, "source": "sink", "id": str(part), "data": data}
            yield json.dumps(entry, separators=(",", ":")).encode()

    def _past(self, question: MeterRecord) -> dict[tuple[str, int], list[Any]]:
        """The rows of a past, recounted from the log."""
        start_ms, whole_ms = parse_instant(question.window_start), parse_instant(question.whole_from)
        found: dict[tuple[str, int], list[Any]] = {}
        for each in self.usage[question.partition][: question.from_offset]:
            sent = json.loads(each.value)
            time_ms = parse_instant(sent["time"])
            names = [(d, _name(sent, d), wanted) for d, wanted in parse_names(question.scope)]
            if time_ms < start_ms or any(not name or wanted not in ("*", name) for _, name, wanted in names):
                continue
            scope = scope_of_all((d, name) for d, name, _ in names)
            window_ms = whole_ms if time_ms >= whole_ms else start_ms
            row = found.setdefault((scope, window_ms), [scope, window_ms, 0, 0, 0, {}])
            row[2] += int(sent["data"]["cost_usd"]) * PICO
            row[4] += 1
            burned = sent["data"].get("retail_tokens", 0)
            # A product token is worth half a cent in the price book.
            row[3] += burned * PICO // 200
            for dimension, amount in (*sent["data"]["usage"].items(), *([("credits", burned)] if burned else [])):
                row[5][dimension] = row[5].get(dimension, 0) + amount * NANO
        return found

    def spent(self, scope: str, window: str) -> tuple[str, int]:
        """What the window's record says: dollars and events."""
        said = self.spend[f"{scope}|{window}"]
        return said["spent_usd"], said["events"]

    def told(self, scope: str) -> list[tuple[str | None, bool]]:
        """What the flags of a scope said, one after another: what is spent, and whether that is incomplete."""
        return [(flag.get("spent"), flag.get("incomplete", False)) for flag in self.flags.get(scope, [])]


def _put(held: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        held.pop(key, None)
    else:
        held[key] = value


def _name(sent: dict[str, Any], dimension: Dimension) -> str:
    found: str = sent["subject"] if dimension is Dimension.USER else sent["data"].get(dimension.value) or ""
    return found


def play(core: Core, steps: Iterable[Step], restarted: tuple[int, int] | None = None) -> MeteredLedger:
    """Take the steps; with `restarted` (step, stage) that stage is killed before that step."""
    ledger = MeteredLedger(core)
    for number, step in enumerate(steps):
        if restarted is not None and restarted[0] == number:
            ledger.restart(restarted[1])
        step(ledger)
    return ledger
