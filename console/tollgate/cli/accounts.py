"""What explains a user beyond their flag: plan, credits, blocked combinations, decisions about reservations."""

from dataclasses import dataclass, field
from typing import Any, Final

from tollgate.cli.budget_reading import read_book
from tollgate.cli.credits import read_balance
from tollgate.cli.output import print_line, say
from tollgate.domain.plans import Plan
from tollgate.runtime.settings import Settings
from tollgate.runtime.topic_reading import read_batches, read_latest
from tollgate.schemas.amounts import format_amount
from tollgate.schemas.outputs import Balance, Decision
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.scopes import Dimension, parse_names, scope_of
from tollgate.schemas.topics import Topic
from tollgate.sdk.decision import HeldFlag
from tollgate.sdk.in_words import sentence

_DECISIONS_SHOWN: Final = 10
# A day of decisions may be many millions; a reservation lives for an hour at most.
_DECISIONS_SINCE_MS: Final = 2 * 3_600_000


@dataclass(slots=True)
class Account:
    """Of a user; empty for any other scope."""

    plan: Plan | None = None
    timezone: str = ""
    balance: Balance | None = None
    combinations: list[HeldFlag] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def as_json(self, now_ms: int) -> dict[str, Any]:
        """For programs."""
        plan = self.plan
        return {
            "plan": {"id": plan.id, "name": plan.name, "timezone": self.timezone} if plan is not None else None,
            "credits": self.balance.model_dump(mode="json") if self.balance is not None else None,
            "combinations": [
                held.flag.model_dump(mode="json", by_alias=True) for held in self.combinations if held.in_force(now_ms)
            ],
            "reservations": [one.model_dump(mode="json") for one in self.decisions],
        }

    def tell(self, now_ms: int) -> None:
        """For people; nothing where there is nothing."""
        if self.plan is not None:
            free = self.plan.credits_per_day_nano
            more = f", {format_amount(free)} free credits a day" if free else ""
            print_line(f"plan     {self.plan.name} ({self.plan.id}), days and months of {self.timezone}{more}")
        if self.balance is not None:
            held = f", {self.balance.reserved} reserved" if self.balance.reserved != "0" else ""
            print_line(f"credits  {self.balance.available} available{held}")
        for flag in (held.flag for held in self.combinations if held.in_force(now_ms)):
            print_line(f"also     {sentence(flag)}")
        for one in self.decisions:
            what = "granted" if one.granted else f"denied ({one.http_status} {one.error}): {one.message or 'no reason'}"
            print_line(f"reserve  {one.decided_at} {one.reservation_id} of {one.source} {what}")


async def read_account(settings: Settings, scope: str, now_ms: int) -> Account:
    """What is known of the scope's user: from Kafka alone."""
    names = parse_names(scope)
    if len(names) != 1 or names[0][0] is not Dimension.USER:
        return Account()
    user, plans = names[0][1], (await read_book(settings)).plans
    written = scope_of(Dimension.USER, user).removeprefix("user/")
    return Account(
        plans.plan_of(written, now_ms),
        plans.timezone_of(written),
        await read_balance(settings, user),
        await _combinations(settings, scope, user),
        await _decisions(settings, user, now_ms),
    )


async def _combinations(settings: Settings, scope: str, user: str) -> list[HeldFlag]:
    prefix = f"{scope}+".encode()
    partitions = [partition_of(user.encode(), settings.usage_partitions)]
    found = await read_latest(settings, Topic.FLAGS, lambda key: key.startswith(prefix), partitions=partitions)
    flags = []
    for name, value in sorted(found.items()):
        try:
            flags.append(read_record(HeldFlag.read, value))
        except UnreadableError as error:
            say(f"the flag of {name[:64]!r} cannot be read: {error}")
    return flags


async def _decisions(settings: Settings, user: str, now_ms: int) -> list[Decision]:
    """The newest decisions about the user's reservations, the newest first."""
    found: dict[tuple[str, str], Decision] = {}
    async for batch in read_batches(settings, Topic.DECISIONS, since_ms=now_ms - _DECISIONS_SINCE_MS):
        for record in batch:
            try:
                decision = read_record(Decision.model_validate_json, record.value or b"")
            except UnreadableError:
                # `tollgate verify` complains about it.
                continue
            if decision.user == user:
                found[decision.source, decision.reservation_id] = decision
    newest = sorted(found.values(), key=lambda one: (one.decided_at, one.reservation_id), reverse=True)
    return newest[:_DECISIONS_SHOWN]
