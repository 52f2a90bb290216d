"""Whoever reads flags answers a call alike: a service by Kafka, one by the console's stream, and the console itself.

What they should answer is worked out here from the words of the contract, over every combination of a call's names.
`TOLLGATE_TEST_EXAMPLES=20000` makes it long; the seed that a failure prints repeats it.
"""

import asyncio
import os
import random
from itertools import combinations
from typing import Any, NamedTuple, cast

from tests.support.control_in_memory import ControlInMemory
from tests.support.live_records import flag_record

from tollgate.console.access.callers import Caller, Role
from tollgate.console.live import Live
from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.scopes import GLOBAL_SCOPE, Dimension, scope_of_all
from tollgate.sdk.decision import Decision
from tollgate.sdk.http_knowledge import HttpKnowledge
from tollgate.sdk.knowledge import Knowledge

SEED = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))
EXAMPLES = int(os.environ.get("TOLLGATE_TEST_EXAMPLES", "300"))
NOW_MS = parse_instant("2026-11-21T10:00:00Z")
DIMENSIONS = (Dimension.USER, Dimension.ORG, Dimension.MODEL, Dimension.FEATURE)
# Some are written with %2B in a scope, and some look like it.
NAMES = ("a", "a+b", "a/b", "a+model/b", "a%2Bmodel/b", "a%252Bmodel/b", "%", "*", "日本/語", "a+feature/a")
STATES = ("ok", "warning", "blocked", "blocked", "stopped")

Names = tuple[tuple[Dimension, str], ...]


class Written(NamedTuple):
    """A record of the flags topic, and what it says."""

    names: Names
    state: str
    revision: int
    until_ms: int | None
    excepted: tuple[Names, ...]

    @property
    def is_stop(self) -> bool:
        """Whether all spending is stopped by it."""
        return not self.names and self.state in ("blocked", "stopped")

    @property
    def record(self) -> tuple[str, bytes]:
        """Its key and value."""
        scope = scope_of_all(self.names)
        changes: dict[str, Any] = {
            "until": None if self.until_ms is None else format_instant(self.until_ms),
            "except": [scope_of_all(names) for names in self.excepted] or None,
        }
        if self.is_stop:
            changes["reason"] = "spending_stopped"
        elif self.state == "warning":
            changes["reason"] = "threshold_reached"
        return scope, flag_record(scope, self.state, self.revision, **changes)


def some_names(chance: random.Random, least: int, most: int) -> Names:
    chosen = sorted(chance.sample(range(len(DIMENSIONS)), chance.randint(least, most)))
    return tuple((DIMENSIONS[place], chance.choice(NAMES)) for place in chosen)


def some_flags(chance: random.Random, call: Names) -> list[Written]:
    """Mostly of the call's own scopes, each with one to three revisions."""
    found = []
    scopes: dict[str, Names] = {}
    for _ in range(chance.randint(1, 8)):
        own = tuple(
            sorted(chance.sample(call, min(len(call), chance.randint(0, 3))), key=lambda n: DIMENSIONS.index(n[0]))
        )
        names = own if chance.random() < 0.7 else some_names(chance, 0, 3)
        scopes[scope_of_all(names)] = names
    for names in scopes.values():
        for revision in range(1, chance.randint(1, 3) + 1):
            until_ms = chance.choice((None, NOW_MS - 1, NOW_MS, NOW_MS + 1, NOW_MS + 86_400_000))
            wanted = [some_names(chance, 1, 2) for _ in range(chance.randint(0, 1))]
            if call and chance.random() < 0.2:
                wanted.append((chance.choice(call),))
            found.append(Written(names, chance.choice(STATES), revision, until_ms, tuple(wanted)))
    return found


def expected(flags: list[Written], call: Names) -> tuple[bool, int | None, str]:
    """Whether the call may go ahead, the status, and the strictest state of those that decide."""
    latest: dict[Names, Written] = {}
    for flag in sorted(flags, key=lambda flag: flag.revision):
        latest[flag.names] = flag
    holding = []
    for size in range(4):
        for names in combinations(call, size):
            found = latest.get(names)
            if found is None or found.state == "ok" or (found.until_ms is not None and found.until_ms <= NOW_MS):
                continue
            if not any(set(excepted) <= set(call) for excepted in found.excepted):
                holding.append(found)
    blocking = [flag for flag in holding if flag.state in ("blocked", "stopped")]
    if not blocking:
        return True, None, "warning" if holding else "ok"
    if any(flag.is_stop for flag in blocking):
        return False, 503, next(flag.state for flag in blocking if flag.is_stop)
    return False, 429, "stopped" if any(flag.state == "stopped" for flag in blocking) else "blocked"


async def by_stream(live: Live) -> Knowledge:
    """What a service learns from the console's stream."""
    knowledge = Knowledge(now_ms=lambda: NOW_MS)
    reader = HttpKnowledge(cast("Any", None), knowledge)
    async for frame in live.frames(Caller("tests", Role.SERVICE)):
        if frame.event == "heartbeat":
            break
        await reader._take(frame.event, frame.data)
    return knowledge


def told(decision: Decision) -> tuple[bool, int | None, str]:
    return decision.allowed, decision.http_status, decision.state.value


def test_every_reader_decides_by_the_same_flags() -> None:
    chance = random.Random(SEED)
    settings = Settings()
    with asyncio.Runner() as runner:
        for _ in range(EXAMPLES):
            call = some_names(chance, 0, 4)
            flags = some_flags(chance, call)
            records = [flag.record for flag in flags]
            # Read again and in any order: the highest revision counts.
            records += chance.choices(records, k=chance.randint(0, 3))
            chance.shuffle(records)
            by_kafka = Knowledge(now_ms=lambda: NOW_MS)
            live = Live(settings, ControlInMemory(settings), now_ms=lambda: NOW_MS)
            for scope, value in records:
                by_kafka.take_flag(scope, value)
            # A topic has one order for each scope, and the console keeps no flag that is ok.
            for scope, value in (flag.record for flag in flags):
                live._take_flag(scope.encode(), value)
            asked = {dimension.value: name for dimension, name in chance.sample(call, len(call))}
            by_stream_ = runner.run(by_stream(live))
            answers = [told(by_kafka.check(asked)), told(live.decide(asked, NOW_MS)), told(by_stream_.check(asked))]
            assert answers == [expected(flags, call)] * 3, f"seed {SEED}: {asked} with {flags}"


def test_a_company_wide_flag_counts_for_a_call_without_names() -> None:
    knowledge = Knowledge(now_ms=lambda: NOW_MS)
    knowledge.take_flag(*Written((), "blocked", 1, None, ()).record)
    assert knowledge.check({}).scope == GLOBAL_SCOPE
