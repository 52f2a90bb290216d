"""Budgets, plans, prices and the stop: read to the control topic's end before anything is counted, then followed."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import structlog
from aiokafka import ConsumerRecord

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.plans import Assignment, Plan, Plans
from tollgate.domain.pricing import PriceBook, Pricer
from tollgate.domain.stops import Stop
from tollgate.ledger import ANY_AGE_MS, Policy, none_blocked
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import (
    DEFAULT_ASSIGNMENT_KEY,
    STOP_SETTING,
    AssignmentRecord,
    BudgetRecord,
    PlanRecord,
    PriceRecord,
    SettingRecord,
)
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import DAY_MS, Topic
from tollgate.worker.following import Following
from tollgate.worker.shared_flags import SharedFlags

_USER: Final = "user/"

log = structlog.get_logger("tollgate.worker")


def _budget(name: str, value: bytes) -> Budget:
    budget = Budget.from_record(BudgetRecord.model_validate_json(value))
    # Another program may have written another id than that of the key, under which the record is replaced.
    return budget if budget.id == name else replace(budget, id=name)


def _plan(name: str, value: bytes) -> Plan:
    return Plan.from_record(PlanRecord.model_validate_json(value).model_copy(update={"id": name}))


def _assignment(value: bytes) -> Assignment:
    return Assignment.from_record(AssignmentRecord.model_validate_json(value))


def _stop(value: bytes) -> Stop:
    record = read_record(SettingRecord.model_validate_json, value)
    if record.name != STOP_SETTING:
        raise UnreadableError("name: must be that of the key")
    return Stop.from_record(record)


class ControlReader:
    """Follows the control topic and builds a new policy whenever it changes. `shipped` is the price book below it.

    Each policy refers to `flags`, which its owner reads and follows; None: no shared scope is ever blocked.
    """

    def __init__(self, settings: Settings, shipped: PriceBook, flags: SharedFlags | None = None) -> None:
        self.flags = flags
        self._latest_flag = flags.latest if flags is not None else none_blocked
        self._settings = settings
        self._shipped = shipped
        self._prices: dict[str, PriceRecord] = {}
        self._stop: Stop | None = None
        # Made anew only when there is another budget or price: see `Policy`.
        self._book = BudgetBook()
        # What has arrived since the last policy.
        self._changed: dict[str, Budget | None] = {}
        self._plans = Plans()
        self._changed_plans: dict[str, Plan | None] = {}
        self._changed_assignments: dict[str, Assignment | None] = {}
        self._new_pricer: Callable[[], Pricer] | None = None
        self._following = Following(settings, Topic.CONTROL, [0], self._take_record)

    async def read_all(self) -> Policy:
        """Everything the topic holds now. Raises KafkaError when Kafka cannot be reached."""
        await self._following.read_all()
        policy = self._policy()
        log.info("control topic read", budgets=len(policy.budgets), prices=len(self._prices))
        if self._stop is not None and self._stop.stopped:
            log.warning("all spending is stopped by hand", actor=self._stop.actor, reason=self._stop.reason)
        return policy

    async def follow(self, changed: Callable[[Policy], None]) -> None:
        """Call `changed` with a new policy after each change, for ever. `read_all` comes first."""
        await self._following.follow(lambda: changed(self._policy()))

    async def stop(self) -> None:
        """Close the connection."""
        await self._following.stop()

    def _take_record(self, record: ConsumerRecord) -> bool:
        return self._take(bytes(record.key or b"").decode("utf-8", "replace"), record.value)

    def _take(self, key: str, value: bytes | None) -> bool:
        """Whether the worker acts on such a record, and not on tokens, other settings, or kinds of later releases."""
        kind, _, name = key.partition("/")
        try:
            if kind == "budget":
                budget = None if value is None else read_record(partial(_budget, name), value)
                self._changed[name] = budget
            elif kind == "plan":
                self._changed_plans[name] = None if value is None else read_record(partial(_plan, name), value)
            elif key == DEFAULT_ASSIGNMENT_KEY:
                self._plans = self._plans.with_default(None if value is None else read_record(_assignment, value))
            elif kind == "assignment" and name.startswith(_USER):
                user = name.removeprefix(_USER)
                self._changed_assignments[user] = None if value is None else read_record(_assignment, value)
            elif kind == "price":
                if value is None:
                    self._prices.pop(name, None)
                else:
                    self._prices[name] = read_record(PriceRecord.model_validate_json, value)
                self._new_pricer = None
            elif (kind, name) == ("setting", STOP_SETTING):
                self._stop = None if value is None else _stop(value)
            else:
                return False
        except UnreadableError as error:
            # The record in force stays in force: a slip in one record must not lift a limit.
            log.error("a control record is invalid and ignored", key=key[:128], why=str(error))
        return True

    def _policy(self) -> Policy:
        if self._changed_plans or self._changed_assignments:
            self._plans = self._plans.changed(self._changed_plans, self._changed_assignments)
            self._changed_plans, self._changed_assignments = {}, {}
        if self._changed or self._plans is not self._book.plans:
            self._book = self._book.changed(self._changed, self._plans)
            self._changed = {}
        if self._new_pricer is None:
            prices = self._shipped.with_prices(self._prices.values())
            self._new_pricer = partial(Pricer, prices)
        days = self._settings.event_age_days_max
        age_ms_max = ANY_AGE_MS if days is None else days * DAY_MS
        return Policy(self._book, self._new_pricer, age_ms_max, self._stop, self._latest_flag)
