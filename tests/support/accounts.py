"""A stage for partition 0 that is fed usage, reservations, releases and credits, and everything that it wrote."""

import json
from typing import Any

from aiokafka import ConsumerRecord
from tests.support.usage import TIME, TIME_MS, event, record

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.ledger import Counters, Policy
from tollgate.ledger.core import Core
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.user_stage import UserStage
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.outputs import Balance, Decision
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import Topic

BOOK = load_price_book("default")
USERS = [u for u in (f"u{n}" for n in range(200)) if partition_of(u.encode(), 8) == 0]
USER = USERS[0]
STRANGER = next(u for u in (f"u{n}" for n in range(200)) if partition_of(u.encode(), 8) == 3)


class BookWithCredits(BudgetBook):
    """Budgets, and the same free credits a day for everybody."""

    per_day_nano = 0
    timezone = "UTC"
    until_ms = 1 << 62

    def credits_of(self, user: str, at_ms: int = 0) -> tuple[int, str]:  # noqa: ARG002 # the same for all
        return self.per_day_nano if at_ms < self.until_ms else 0, self.timezone


def policy(
    *budgets: dict[str, Any], free: tuple[int, str] = (0, "UTC"), free_until_ms: int = 1 << 62, **others: Any
) -> Policy:
    """These budgets, free credits a day in 10⁻⁹ with the zone of the day, and fields of `Policy`."""
    records = (BudgetRecord.model_validate(b | {"updated_at": "2026-11-01T00:00:00Z"}) for b in budgets)
    book = BookWithCredits(Budget.from_record(r) for r in records)
    (book.per_day_nano, book.timezone), book.until_ms = free, free_until_ms
    return Policy(book, lambda: Pricer(BOOK), **others)


def entry(kind: str, entry_id: str, data: dict[str, Any], user: str = USER, **changes: Any) -> dict[str, Any]:
    """`tollgate.<kind>.v1` of the source `tests`."""
    envelope = {"specversion": "1.0", "type": f"tollgate.{kind}.v1", "source": "tests", "id": entry_id}
    return envelope | {"subject": user, "time": TIME, "data": data} | changes


def reservation(entry_id: str, usd: str | None = "0.10", user: str = USER, **data: Any) -> dict[str, Any]:
    given = ({"amount_usd": usd} if usd is not None else {}) | {"ttl_seconds": 60, "reply_to": "me", **data}
    return entry("reservation", entry_id, given, user)


def release(reservation_id: str, user: str = USER) -> dict[str, Any]:
    return entry("release", f"{reservation_id}/release", {"reservation_id": reservation_id}, user)


def credit(entry_id: str, credits_given: str, user: str = USER, **data: Any) -> dict[str, Any]:
    return entry("credit", entry_id, {"credits": credits_given, "kind": "bonus"} | data, user)


def usage(event_id: str, user: str = USER, **data: Any) -> dict[str, Any]:
    """An event of 0.0035 USD unless `cost_usd` says otherwise."""
    return event(event_id, user, data=data)


class Bench:
    """See the module."""

    def __init__(self, policy_in_force: Policy, core: Core = "python") -> None:
        self.core: Core = core
        self.policy = policy_in_force
        self.counters = Counters()
        self.stage = UserStage(0, policy_in_force, self.counters, core=core)
        self.rows: dict[str, bytes] = {}
        self.identities: list[bytes] = []
        self.numbers: dict[str, int] | None = None
        self.offset = 0
        self.decisions: list[dict[str, Any]] = []
        self.flags: dict[str, dict[str, Any]] = {}
        self.balances: dict[str, dict[str, Any]] = {}

    def send(self, *values: Any, timestamp: int = TIME_MS) -> None:
        records = [v if isinstance(v, ConsumerRecord) else record(v, timestamp=timestamp) for v in values]
        for r in records:
            object.__setattr__(r, "offset", self.offset)
            self.offset += 1
        self.stage.apply(records)

    def send_entries(self, *values: Any, timestamp: int = TIME_MS) -> None:
        self.stage.apply_entries([record(v, timestamp=timestamp) for v in values])

    def write(self, now_ms: int = TIME_MS) -> Outbox:
        """A transaction. Decisions are collected, flags and balances are the latest."""
        outbox = Outbox()
        self.numbers = self.stage.write(outbox, now_ms)
        for (topic, _), records in outbox.records.items():
            for key, value, _ in records:
                if topic is Topic.USER_STATE:
                    self._keep(key, value)
                elif topic is Topic.IDENTITIES and value is not None:
                    self.identities.append(value)
                elif topic is Topic.DECISIONS and value is not None:
                    Decision.model_validate_json(value)
                    self.decisions.append(json.loads(value))
                elif topic is Topic.BALANCES and key is not None and value is not None:
                    Balance.model_validate_json(value)
                    self.balances[key.decode()] = json.loads(value)
                elif topic is Topic.FLAGS and key is not None and value is not None:
                    self.flags[key.decode()] = json.loads(value)
        return outbox

    def _keep(self, key: bytes | None, value: bytes | None) -> None:
        assert key is not None
        if value is None:
            self.rows.pop(key.decode(), None)
        else:
            self.rows[key.decode()] = value

    def restarted(self) -> "Bench":
        """Another worker that takes over after the last transaction."""
        other = Bench(self.policy, self.core)
        other.stage.restore(dict(self.rows), self.numbers)
        for rows in self.identities:
            other.stage.remember(rows)
        other.rows, other.identities, other.offset, other.numbers = (
            self.rows,
            self.identities,
            self.offset,
            self.numbers,
        )
        other.decisions, other.flags, other.balances = self.decisions, self.flags, self.balances
        return other

    def granted(self) -> list[str]:
        """The ids of the reservations that were granted."""
        return [decision["reservation_id"] for decision in self.decisions if decision["granted"]]


def values(outbox: Outbox, topic: Topic, partition: int = 0) -> list[Any]:
    return [json.loads(value) for _, value, _ in outbox.records.get((topic, partition), []) if value is not None]


def letters(outbox: Outbox) -> list[tuple[str, str]]:
    """Reason and error of each dead letter."""
    found = [dict(headers) for _, _, headers in outbox.records.get((Topic.DEAD_LETTERS, 0), [])]
    return [(headers["reason"].decode(), headers["error"].decode()) for headers in found]
