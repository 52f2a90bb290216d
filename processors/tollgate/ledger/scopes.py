"""The scopes a partition owns: their spend, what was last said about them, and what is not yet written.

Both stages keep their scopes here: users in the first, everything shared in the second. Nothing is written by this
module; `write` fills an outbox, and the lane commits it in the transaction that also moves the source offset.
"""

import heapq
from functools import lru_cache
from itertools import islice
from typing import Final

import msgspec

from tollgate.domain.budgets import BudgetBook, positions, window_json
from tollgate.domain.decisions import Standing, decide
from tollgate.domain.spend import ScopeSpend, Spend, WindowKey
from tollgate.domain.windows import Horizon
from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.schemas.amounts import format_amount, format_usd
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import WindowKind
from tollgate.schemas.topics import Topic

# Spend records are for readers, not for recovery, and a window that changes with every batch needs only its latest.
# So a transaction carries at most this many, or an eighth of its events if that is more; the rest wait their turn.
SPEND_RECORDS_MIN: Final = 400
SPEND_RECORDS_SHARE: Final = 8

# A changed pattern budget may concern every user of a partition; this many are decided per transaction.
DECISIONS_MAX: Final = 5_000

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_decode_standing = msgspec.json.Decoder(Standing).decode


class Scopes:
    """Spend, standings and pending writes of one partition's scopes. `state` is the topic that remembers them."""

    def __init__(self, partition: int, state: Topic, horizon: Horizon, budgets: BudgetBook) -> None:
        self._partition = partition
        self._state = state
        self._budgets = budgets
        self.horizon = horizon
        self.spend: dict[str, ScopeSpend] = {}
        self._standings: dict[str, Standing] = {}
        self._dirty: dict[str, None] = {}
        self._dirty_closed: dict[tuple[str, WindowKey], bool] = {}
        self._undecided: dict[str, None] = {}
        self._due: list[tuple[int, str]] = []
        self._due_at: dict[str, int] = {}
        # Windows whose spend record is behind, oldest first, with the transaction in which they fell behind.
        self._unsaid: dict[tuple[str, WindowKey], int] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self.spend)

    def add(self, scope: str, hour_start_ms: int, held_kinds: int, amount: Spend) -> None:
        """Count an amount that was spent in that hour; see `ScopeSpend.add`."""
        spend = self.spend.get(scope)
        if spend is None:
            spend = self.spend[scope] = ScopeSpend(hour_start_ms)
        self._dirty[scope] = None
        if not self._budgets.is_empty and self._budgets.covers(scope):
            self._undecided[scope] = None
        changed = spend.add(hour_start_ms, held_kinds, amount)
        sequence = self._sequence + 1
        unsaid = self._unsaid
        for window in changed:
            unsaid.setdefault((scope, window), sequence)
        if changed is spend.open_windows():
            return
        for window in changed:
            if not spend.is_open(window):
                self._dirty_closed[scope, window] = True
        if len(spend.closed) > 1 and len(changed) > 4:
            # One batch of a backlog may span days: a window goes only when its last sum has been said.
            for window in spend.evict(self.horizon, lambda window: (scope, window) in self._unsaid):
                self._dirty_closed[scope, window] = False

    def set_budgets(self, budgets: BudgetBook) -> None:
        """Replace the budgets; every scope that has one now, or was told about one, is decided anew."""
        self._budgets = budgets
        self._undecided.update(dict.fromkeys(self._standings))
        self._undecided.update(dict.fromkeys(scope for scope in self.spend if budgets.covers(scope)))

    def tick(self, now_ms: int) -> None:
        """Bring back the scopes whose window has ended or whose alert has numbers to tell."""
        while self._due and self._due[0][0] <= now_ms:
            due_ms, scope = heapq.heappop(self._due)
            if self._due_at.get(scope) == due_ms:
                del self._due_at[scope]
                self._undecided[scope] = None

    def has_pending(self) -> bool:
        """Whether a transaction now would write something."""
        return bool(self._dirty or self._undecided or self._unsaid)

    def write(self, outbox: Outbox, events: int, now_ms: int) -> dict[str, int]:
        """Move everything pending into the outbox; returns what the offset row must remember for recovery."""
        self._sequence += 1
        self._write_decisions(outbox, now_ms)
        self._write_state(outbox)
        self._write_spend(outbox, max(SPEND_RECORDS_MIN, events // SPEND_RECORDS_SHARE), now_ms)
        oldest = next(iter(self._unsaid.values()), self._sequence + 1)
        return {"sequence": self._sequence, "said": oldest - 1, "clock_ms": self.horizon.clock_ms}

    def _write_decisions(self, outbox: Outbox, now_ms: int) -> None:
        for scope in list(islice(self._undecided, DECISIONS_MAX)):
            del self._undecided[scope]
            spend = self.spend.get(scope)
            found = positions(self._budgets.for_scope(scope), spend, now_ms)
            decision = decide(scope, found, spend, self._standings.get(scope), now_ms)
            if decision.due_ms is not None and self._due_at.get(scope) != decision.due_ms:
                self._due_at[scope] = decision.due_ms
                heapq.heappush(self._due, (decision.due_ms, scope))
            if not decision.changed:
                continue
            self._standings[scope] = decision.standing
            outbox.to(self._state, self._partition).append(
                (f"d|{scope}".encode(), _encode(decision.standing), NO_HEADERS)
            )
            if decision.flag is not None:
                outbox.to(Topic.FLAGS, self._partition).append((scope.encode(), _encode(decision.flag), NO_HEADERS))
            for alert in decision.alerts:
                outbox.to(Topic.ALERTS, 0).append((alert["key"].encode(), _encode(alert), NO_HEADERS))

    def _write_state(self, outbox: Outbox) -> None:
        if not self._dirty:
            return
        rows = outbox.to(self._state, self._partition)
        sequence = self._sequence
        for scope in self._dirty:
            rows.append((f"s|{scope}".encode(), _encode([sequence, *self.spend[scope].open_row()]), NO_HEADERS))
        for (scope, window), kept in self._dirty_closed.items():
            kind, start = window
            closed = self.spend[scope].closed.get(window) if kept else None
            row = _encode([sequence, *closed.row()]) if closed is not None else None
            rows.append((f"w|{kind.value}|{start}|{scope}".encode(), row, NO_HEADERS))
        self._dirty = {}
        self._dirty_closed = {}

    def _write_spend(self, outbox: Outbox, most: int, now_ms: int) -> None:
        if not self._unsaid:
            return
        records = outbox.to(Topic.SPEND, self._partition)
        updated_at = format_instant(now_ms)
        for scope, window in list(islice(self._unsaid, most)):
            del self._unsaid[scope, window]
            kind, start = window
            spend = self.spend[scope].window(kind, start)
            if spend is not None:
                key = f"{scope}|{_written(window)[0]}".encode()
                records.append((key, _encode(_spend_value(scope, window, spend, updated_at)), NO_HEADERS))

    def restore(self, rows: dict[str, bytes], offsets: dict[str, int]) -> None:
        """Take back the latest rows of the state topic, and with the offset row's numbers what readers still miss."""
        self._sequence = offsets["sequence"]
        self.horizon.advance(offsets["clock_ms"])
        said = offsets["said"]
        closed: dict[str, dict[WindowKey, Spend]] = {}
        for key, value in rows.items():
            tag, _, rest = key.partition("|")
            if tag == "s":
                sequence, *row = _decode(value)
                spend = self.spend[rest] = ScopeSpend.from_open_row(row)
                if sequence > said:
                    self._unsaid.update({(rest, window): sequence for window in spend.windows()})
            elif tag == "w":
                kind, start, scope = rest.split("|", 2)
                sequence, *row = _decode(value)
                window = (WindowKind(kind), int(start))
                closed.setdefault(scope, {})[window] = Spend.from_row(row)
                if sequence > said:
                    self._unsaid[scope, window] = sequence
            elif tag == "d":
                self._standings[rest] = _decode_standing(value)
        for scope, windows in closed.items():
            self.spend[scope].closed = windows
        # Time passed while nobody looked, and budgets may have changed: every decision is made again.
        self.set_budgets(self._budgets)


class SpendValue(msgspec.Struct, gc=False):
    """The value of a spend record: the contract's fields, the window ready as JSON."""

    scope: str
    window: msgspec.Raw
    spent_usd: str
    retail_usd: str
    usage: dict[str, str]
    events: int
    updated_at: str


def _spend_value(scope: str, window: WindowKey, spend: Spend, updated_at: str) -> SpendValue:
    return SpendValue(
        scope,
        _written(window)[1],
        format_usd(spend.cost_picousd),
        format_usd(spend.retail_picousd),
        {dimension: format_amount(amount) for dimension, amount in spend.usage_nano.items()},
        spend.events,
        updated_at,
    )


@lru_cache(maxsize=4096)
def _written(window: WindowKey) -> tuple[str, msgspec.Raw]:
    """A window as it ends a spend record's key, and as JSON; the same few are written for every scope."""
    kind, start = window
    return f"{kind.value}|{format_instant(start)}", msgspec.Raw(_encode(window_json(kind, start)))
