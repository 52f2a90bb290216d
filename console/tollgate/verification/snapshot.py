"""Takes a cut through a running system: a copy of the worker's state, and the usage offsets up to which it counts.

The worker writes its sums and an offset row in the same transaction, so the offset row of a state partition tells
which usage its sums contain. For shared scopes the offset row counts deltas, and a header of each record of deltas
names the usage offset behind it. So each stage is read as of one transaction, and the recount stops at the same usage
offsets. Spend records and flags are written in the same transactions or a little later: they must agree with the state
at the cut or after one of the transactions since.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic
from tollgate.verification.following import Follower, Kind
from tollgate.verification.log import Log, Offsets
from tollgate.verification.meters import Meters, read_meters
from tollgate.verification.names import written
from tollgate.verification.report import Check
from tollgate.verification.spill import Spill
from tollgate.verification.state import Counted, scope_of

# Called with what is being done, how much of it is done, and how much there is; 0 when that is not known.
Progress = Callable[[str, int, int], None]

# The header of a record of deltas: `partition:next usage offset:records of the transaction to follow`.
COUNTED_HEADER: Final = "tollgate-counted-to"

_POLL_SECONDS: Final = 0.3

_AS_MANY: Final = (Topic.USER_STATE, Topic.PRICED, Topic.IDENTITIES)


@dataclass(slots=True)
class Cut:
    """Where everything is compared. Users live in the first `homes` partitions of usage; what arrives in others, which
    were added to the topic, is forwarded to these. `users` is, by usage partition, the first offset that its users'
    state does not count; `shared` the same by partition of shared scopes and usage partition; `usage` is beyond all.

    `user_rows` and `shared_rows` are the ends of the state topics at the cut.
    """

    homes: int
    begins: Offsets = field(default_factory=dict)
    usage: Offsets = field(default_factory=dict)
    users: Offsets = field(default_factory=dict)
    shared: dict[int, Offsets] = field(default_factory=dict)
    user_rows: Offsets = field(default_factory=dict)
    shared_rows: Offsets = field(default_factory=dict)
    user_clocks: Offsets = field(default_factory=dict)
    shared_clocks: Offsets = field(default_factory=dict)
    # By partition, the first offset of entries that its users' state does not count.
    entries: Offsets = field(default_factory=dict)
    entries_begin: Offsets = field(default_factory=dict)
    # By usage partition, the first offset of which sums have the credits.
    credits_from: Offsets = field(default_factory=dict)
    meters: Meters = field(default_factory=Meters)
    # The ends of spend and flags when they were last read beside the state, and the time then.
    spend_rows: Offsets = field(default_factory=dict)
    now_ms: int = 0


def _scope_of_window(key: bytes) -> str:
    return key.decode("utf-8", "replace").rsplit("|", 2)[0]


def _scope_of_flag(key: bytes) -> str:
    return key.decode("utf-8", "replace")


def _scope_of_balance(key: bytes) -> str:
    return f"user/{written(key.decode('utf-8', 'replace'))}"


class Snapshot:
    """Takes the cut, then reads on. `checks` are the ones that failed because something did not catch up in time."""

    def __init__(
        self, settings: Settings, log: Log, spill: Spill, deadline: Callable[[], float], progress: Progress
    ) -> None:
        self._settings = settings
        self._log = log
        self._deadline = deadline
        self._progress = progress
        self._read = 0
        self._phase = "reading"
        self.cut = Cut(0)
        self.checks: list[Check] = []
        self.users = Follower(log, Topic.USER_STATE, Kind.USER_STATE, spill, scope_of, self._step)
        self.shared = Follower(log, Topic.SHARED_STATE, Kind.SHARED_STATE, spill, scope_of, self._step)
        self.spend = Follower(log, Topic.SPEND, Kind.SPEND, spill, _scope_of_window, self._step)
        self.balances = Follower(log, Topic.BALANCES, Kind.BALANCE, spill, _scope_of_balance, self._step)
        self.flags = Follower(log, Topic.FLAGS, Kind.FLAG, spill, _scope_of_flag, self._step)

    async def take(self) -> bool:
        """Read both stages' state when they count all that was published before; False when one did not in time.

        Once more when a meter began or was filled meanwhile, so that the sums are those of the meters as they are read.
        """
        deadline = self._deadline()
        while True:
            self.cut.meters = await read_meters(self._log)
            if not await self._take():
                return False
            if time.monotonic() >= deadline or self.cut.meters == await read_meters(self._log):
                return True
            self._say("waiting for meters")
            await asyncio.sleep(_POLL_SECONDS)

    async def _take(self) -> bool:
        cut = self.cut
        cut.begins = await self._log.begins(Topic.USAGE)
        # Of all topics that have as many partitions as are counted, none need have been given more but usage.
        cut.homes = min([len(cut.begins), *[len(await self._log.partitions(topic)) for topic in _AS_MANY]])
        published = await self._log.ends(Topic.USAGE)
        if not await self._counts(self.users, Topic.USAGE, published, "the worker"):
            return False
        if await self._log.exists(Topic.ENTRIES):
            cut.entries_begin = await self._log.begins(Topic.ENTRIES)
            entered = await self._log.ends(Topic.ENTRIES)
            if not await self._counts(self.users, Topic.ENTRIES, entered, "the worker"):
                return False
        # Deltas before here are of transactions whose rows are in the state's log by now, and so will be in the cut.
        # What took long to read may have been overtaken meanwhile: this reads the little that is new. It ends where the
        # committed records end, which is between two transactions, because a partition has one writer.
        deltas_begin = await self._log.ends(Topic.DELTAS)
        await self.users.advance_to_tip()
        await self.users.advance_to_end()
        users = dict(self.users.counted)
        cut.user_rows = dict(self.users.next)
        cut.entries = {p: max(users.get(p, Counted()).next_entries, begin) for p, begin in cut.entries_begin.items()}
        deltas = await self._log.tips(Topic.DELTAS)
        while True:
            if not await self._counts(self.shared, Topic.DELTAS, deltas, "the worker's second stage"):
                return False
            await self.shared.advance_to_end()
            shared = dict(self.shared.counted)
            cut.shared_rows = dict(self.shared.next)
            cut.users = {partition: users.get(partition, Counted()).next for partition in cut.begins}
            cut.credits_from = {partition: users.get(partition, Counted()).credits_from for partition in cut.begins}
            found = {
                q: await self._usage_behind(q, deltas_begin[q], shared.get(q, Counted()).next) for q in cut.shared_rows
            }
            if all(behind is not None for behind in found.values()):
                break
        cut.shared = {
            q: {p: max(n, (behind or {}).get(p, 0)) for p, n in cut.users.items()} for q, behind in found.items()
        }
        cut.usage = {p: max(n, *(behind[p] for behind in cut.shared.values())) for p, n in cut.users.items()}
        cut.user_clocks = {p: users.get(p, Counted()).clock_ms for p in cut.begins}
        cut.shared_clocks = {q: shared.get(q, Counted()).clock_ms for q in cut.shared}
        await self._all_said(users, shared)
        return True

    async def settle(self) -> None:
        """Read spend and flags as they are now, and then what state they may be of."""
        self._say("reading spend and flags")
        await self.spend.advance_to_tip()
        await self.flags.advance_to_tip()
        if await self._log.exists(Topic.BALANCES):
            await self.balances.advance_to_tip()
        self.cut.spend_rows = dict(self.spend.next)
        self.cut.now_ms = time.time_ns() // 1_000_000
        await self.users.advance_to_tip()
        await self.shared.advance_to_tip()

    async def _counts(self, state: Follower, topic: Topic, ends: Offsets, who: str) -> bool:
        """Read the state until it counts everything up to the ends; else report how far behind it is."""
        deadline = self._deadline()
        self._say("reading the state")
        while True:
            await state.advance_to_end()
            is_entries = topic is Topic.ENTRIES
            at = {p: counted.next_entries if is_entries else counted.next for p, counted in state.counted.items()}
            behind = await self._log.behind(topic, at, ends)
            if not behind:
                return True
            if time.monotonic() >= deadline:
                self.checks.append(not_caught_up(who, self._settings.topic(topic), behind))
                return False
            self._say(f"waiting for {who}")
            await asyncio.sleep(_POLL_SECONDS)

    async def _all_said(self, users: dict[int, Counted], shared: dict[int, Counted]) -> None:
        """Wait until the spend records of the cut are written: under load they lag behind the state."""
        deadline = self._deadline()
        while True:
            late = sum(
                self_now.counted[partition].said < counted.sequence
                for self_now, then in ((self.users, users), (self.shared, shared))
                for partition, counted in then.items()
            )
            if not late:
                return
            if time.monotonic() >= deadline:
                check = Check("spend records are written")
                check.differs("partitions whose spend records lag behind the state", 0, late)
                self.checks.append(check.shows("0 partitions late", f"{late} partitions late"))
                return
            self._say("waiting for spend records")
            await asyncio.sleep(_POLL_SECONDS)
            await self.users.advance_to_end()
            await self.shared.advance_to_end()

    async def _usage_behind(self, partition: int, start: int, end: int) -> Offsets | None:
        """By usage partition, the end of the usage that the deltas of `[start, end)` count. None: `end` parts a
        transaction. A usage partition that is not found has no deltas there.
        """
        found: dict[int, tuple[int, int]] = {}
        async for batch in self._log.read(Topic.DELTAS, partition, start, end):
            for record in batch:
                for name, value in record.headers:
                    if name == COUNTED_HEADER:
                        source, following, to_follow = map(int, bytes(value).split(b":"))
                        found[source] = following, to_follow
        if any(to_follow for _, to_follow in found.values()):
            return None
        return {source: following for source, (following, _) in found.items()}

    def _step(self, records: int) -> None:
        self._read += records
        self._progress(self._phase, self._read, 0)

    def _say(self, phase: str) -> None:
        self._phase = phase
        self._progress(phase, self._read, 0)


def not_caught_up(who: str, topic: str, behind: Offsets) -> Check:
    """A failed check that says how far behind somebody is."""
    check = Check(f"{who} has caught up")
    partitions = ", ".join(f"partition {partition} by {n}" for partition, n in sorted(behind.items()))
    found = f"{sum(behind.values())} offsets behind ({partitions}); is it running?"
    check.differs(f"{topic} in time", "everything read", found)
    return check.shows("0 behind", f"{sum(behind.values())} behind")
