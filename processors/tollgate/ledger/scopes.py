"""The scopes of a partition: their spend, their last flag and alerts, and which of it is not yet written.

Both stages keep their scopes here: users in the first, everything shared in the second. Nothing is written by this
module; `write` fills an outbox, and the lane commits it in the transaction that also moves the source offset.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Final

import msgspec

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import BASE_CALENDARS, Position, earliest, next_change_ms, positions
from tollgate.domain.decisions import Decision, Standing, decide
from tollgate.domain.reservations import Reserved
from tollgate.domain.spend import ScopeSpend, Spend
from tollgate.domain.stops import Stop
from tollgate.domain.watch import UNWATCHED
from tollgate.domain.windows import Horizon, WindowKey, Windows
from tollgate.ledger.counters import Counters
from tollgate.ledger.folding import Folding
from tollgate.ledger.forms import Forms
from tollgate.ledger.meters import Metering, MeterTable, is_pattern
from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.ledger.resolved import ResolvedAlerts
from tollgate.ledger.rows import OPEN_PREFIX, StateRows
from tollgate.ledger.scope_table import ScopeTable
from tollgate.ledger.spend_queue import SpendQueue, nothing_reserved
from tollgate.ledger.spend_records import sequence_of, spend_key, with_sequence, without_sequence
from tollgate.ledger.sweep import Sweep
from tollgate.ledger.unneeded import Unneeded
from tollgate.schemas.scopes import GLOBAL_SCOPE, is_combination
from tollgate.schemas.topics import Topic

# Scopes that were spent in, or whose window ended, are decided at once: this many per transaction.
DECISIONS_MAX: Final = 5_000

# A changed pattern budget, or a restart, concerns every scope with a flag, and those that a sweep finds. They are
# decided after the scopes above, this many per transaction: 30 ms in which nothing else is counted.
SWEPT_MAX: Final = 1_000

# Of those without a flag so many, where many reach the same limit and are decided together: 15 ms.
FIRST_MAX: Final = 4_000

_encode = msgspec.json.Encoder().encode
_decode_standing = msgspec.json.Decoder(Standing).decode

# Of a scope without flag and alerts that has reached nothing and of which nothing is reserved.
_NOTHING: Final = Decision(Standing())


class Scopes:
    """Spend, standings and pending writes of one partition's scopes. `state` is the topic that remembers them.

    `stop` is the stop by hand for the partition that has `global`, and None for every other. `reserved` tells what open
    reservations hold of a scope. `spend_apart_ms`: see `SpendQueue`.
    """

    def __init__(
        self,
        partition: int,
        state: Topic,
        horizon: Horizon,
        budgets: BudgetBook,
        counters: Counters | None = None,
        stop: Stop | None = None,
        reserved: Callable[[str], Reserved] = nothing_reserved,
        meters: Metering | None = None,
        spend_apart_ms: int = 0,
    ) -> None:
        self._partition = partition
        self._reserved = reserved
        self._folding = Folding(counters or Counters())
        self._state = state
        self._budgets, self._stop = budgets, stop
        self.horizon = horizon
        self.spend = ScopeTable()
        self._resolved = ResolvedAlerts(partition, state)
        # As their state rows: decisions are few, and a million objects would be many.
        self._standings: dict[str, bytes] = {}
        self._dirty: dict[str, None] = {}
        self._dirty_closed: dict[tuple[str, WindowKey], bool] = {}
        self._undecided: dict[str, None] = {}
        # Scopes still to be looked through, taken from the end.
        self._swept: list[str] = []
        self._meters = meters or MeterTable()
        self._unneeded = Unneeded(self._meters)
        # Keys of rows that nobody needs any more.
        self._expired: list[bytes] = []
        # When scopes are decided again: a heap of instants. Many scopes share one, such as the end of their window.
        self._due: list[int] = []
        self._due_scopes: dict[int, list[str]] = {}
        self._due_at: dict[str, int] = {}
        self._spend_queue = SpendQueue(partition, self.spend, spend_apart_ms, reserved)
        self._sequence = 0
        self._sweep = Sweep(self.spend)
        self.set_budgets(budgets, stop)

    def __len__(self) -> int:
        return len(self.spend)

    def add(self, scope: str, windows: Windows, amount: Spend, *, is_needed: bool = False) -> None:
        """Count an amount in these windows; see `ScopeSpend.add`. Those of a combination are all of its calendars'.

        `is_needed`: further calendars are those of this partition's own meters.
        """
        spend = self.spend.take(scope)
        changed: Sequence[WindowKey] = windows
        if spend is not None:
            changed = spend.add(windows, self._folding.folded(scope, spend, amount))
        else:
            spend, changed = self._folding.begun(scope, windows, amount)
            self.spend.add(scope, spend)
            if not is_needed:
                self._unneeded.note(scope, spend)
        self._dirty[scope] = None
        self._watch(scope, spend, is_open=changed is windows)
        self._spend_queue.add(scope, self._sequence + 1)
        if changed is windows:
            return
        self._unneeded.note(scope, spend)
        for window in changed:
            if not spend.is_open(window):
                self._spend_queue.add_closed(scope, window, self._sequence + 1)
                self._dirty_closed[scope, window] = True
        if len(spend.closed) > 1 and len(changed) > len(windows):
            # One batch of a backlog may span days: a window is dropped only after its last spend record was written.
            for window in spend.evict(self.horizon, partial(self._spend_queue.has_closed, scope)):
                self._dirty_closed[scope, window] = False

    def _watch(self, scope: str, spend: ScopeSpend, *, is_open: bool) -> None:
        """Decide about the scope if it may have reached something. `is_open`: only open windows have changed."""
        watch = self._budgets.watch(scope)
        if watch is UNWATCHED:
            return
        if not is_open or scope in self._standings or watch.may_be_reached_by(spend) or self._reserved(scope).count:
            self._undecided[scope] = None

    def set_budgets(self, budgets: BudgetBook, stop: Stop | None = None) -> None:
        """Replace budgets and stop; flag and alerts of every scope that this concerns are decided again."""
        concerned = budgets.scopes_since(self._budgets)
        if stop is not None or self._stop is not None:
            # Before all others, however many wait.
            self._undecided = {GLOBAL_SCOPE: None} | self._undecided
        self._budgets, self._stop = budgets, stop
        if concerned is None:
            self._decide_anew()
        else:
            known = (s for s in concerned if s in self.spend or s in self._standings or self._reserved(s).count)
            self._undecided.update(dict.fromkeys(known))

    def _decide_anew(self) -> None:
        """Decide about every scope of which a budget is its own, and those of patterns that have reached a limit.

        Scopes with a flag or an alert come first: their budget may have been raised or removed.
        """
        self._undecided.update(dict.fromkeys(scope for scope in self._budgets.exact_scopes() if scope in self.spend))
        self._sweep.begin(self._budgets)
        self._swept = list(self._standings)

    def compare(self) -> None:
        """Forget, little by little, the sums of meters that are not kept any more."""
        self._unneeded.look_through(self.spend)

    def look_again(self, scopes: Iterable[str]) -> None:
        """Decide again about these that have a flag or an alert, for a pattern about all that have one."""
        has_pattern = False
        for scope in scopes:
            has_pattern = has_pattern or is_pattern(scope)
            if scope in self._standings:
                self._undecided[scope] = None
        if has_pattern:
            # Each once, however many patterns there are.
            self._swept = list(dict.fromkeys((*reversed(self._standings), *reversed(self._swept))))[::-1]

    def note_reserved(self, scope: str) -> None:
        """Other money is reserved of the scope. Its spend records say how much, where it has spent something."""
        if self.spend.take(scope) is not None:
            # Its row gets another number, by which a restart finds records that were not written.
            self._dirty[scope] = None
            self._spend_queue.add(scope, self._sequence + 1)

    def touch(self, scope: str) -> None:
        """Decide about the scope again: something else is reserved of it."""
        if not self._budgets.is_empty and self._budgets.covers(scope):
            self._undecided[scope] = None

    def tick(self, now_ms: int) -> None:
        """Mark the scopes to decide about again: their window has ended, or their alert has new numbers."""
        while self._due and self._due[0] <= now_ms:
            due_ms = heapq.heappop(self._due)
            for scope in self._due_scopes.pop(due_ms):
                if self._due_at.get(scope) == due_ms:
                    del self._due_at[scope]
                    self._undecided[scope] = None
        self._spend_queue.tick(now_ms)
        self._resolved.tick(now_ms)
        self._sweep.tick(now_ms)
        self._unneeded.tick(now_ms)

    def has_pending(self) -> bool:
        """Whether a transaction now would write something."""
        late = self._spend_queue.has_pending() or self._expired or self._resolved.has_pending()
        sweeps = self._swept or self._unneeded.has_pending() or self._sweep.has_pending()
        return bool(self._dirty or self._undecided or sweeps or late)

    def write(self, outbox: Outbox, events: int, now_ms: int) -> dict[str, int]:
        """Move everything pending into the outbox; returns what the offset row must remember for recovery."""
        self._sequence += 1
        self._write_decisions(outbox, now_ms)
        self._resolved.write(outbox, now_ms)
        self._drop_unneeded(outbox)
        self._write_state(outbox)
        self._spend_queue.write(outbox, events, now_ms)
        said = self._spend_queue.written_to(self._sequence)
        return {"sequence": self._sequence, "said": said, "clock_ms": self.horizon.clock_ms}

    def _write_decisions(self, outbox: Outbox, now_ms: int) -> None:
        for scope in list(islice(self._undecided, DECISIONS_MAX)):
            del self._undecided[scope]
            self._decide(scope, outbox, now_ms)
        if len(self._swept) < FIRST_MAX:
            self._swept += self._sweep.take(now_ms)
        first: dict[str, None] = {}
        left = SWEPT_MAX
        while self._swept and left and len(first) < FIRST_MAX:
            scope = self._swept.pop()
            if scope in self._standings:
                self._decide(scope, outbox, now_ms)
                left -= 1
            else:
                first[scope] = None
        if first:
            self._decide_first(first, left, outbox, now_ms)

    def _decide_first(self, scopes: dict[str, None], most: int, outbox: Outbox, now_ms: int) -> None:
        """Decide about scopes without a flag and alerts: most of them are many that have reached the same limit.

        At most so many are decided one by one; what is left of these waits for the next transaction.
        """
        free: list[str] = []
        reserved: list[str] = []
        for scope in scopes:
            (reserved if self._reserved(scope).count else free).append(scope)
        forms = Forms(self._partition, self._state, self.spend)
        decided, left = forms.write(free, self._budgets, now_ms, outbox)
        for first in decided:
            self._standings.update(zip(first.scopes, first.rows, strict=True))
            self._set_due(first.scopes, first.due_ms)
        single = [*reserved, *left]
        self._swept += single[most:]
        for scope in single[:most]:
            self._decide(scope, outbox, now_ms)

    def _decide(self, scope: str, outbox: Outbox, now_ms: int) -> None:
        row = self._standings.get(scope)
        budgets = self._budgets.for_scope(scope)
        spend = self.spend.find(scope)
        found = positions(budgets, spend, now_ms)
        stop = self._stop if scope == GLOBAL_SCOPE else None
        reserved = self._reserved(scope)
        decision = _NOTHING
        if row is not None or stop is not None or reserved.count or any(p.threshold for p in found):
            standing = _decode_standing(row) if row is not None else None
            found = [p if self._is_whole(scope, p) else replace(p, is_whole=False) for p in found]
            decision = decide(scope, found, spend, standing, now_ms, stop, reserved)
        self._set_due((scope,), earliest(decision.due_ms, next_change_ms(budgets, now_ms)))
        if not decision.changed:
            return
        row = self._standings[scope] = _encode(decision.standing)
        outbox.to(self._state, self._partition).append((f"d|{scope}".encode(), row, NO_HEADERS))
        if decision.flag is not None:
            outbox.to(Topic.FLAGS, self._partition).append((scope.encode(), _encode(decision.flag), NO_HEADERS))
        for alert in decision.alerts:
            outbox.to(Topic.ALERTS, 0).append((alert.key.encode(), _encode(alert), NO_HEADERS))
            self._resolved.note(alert, outbox, now_ms)

    def _set_due(self, scopes: Iterable[str], due_ms: int | None) -> None:
        """Decide about these scopes again at this instant; None: never."""
        if due_ms is None:
            return
        due_at = self._due_at
        new = [scope for scope in scopes if due_at.get(scope) != due_ms]
        if not new:
            return
        due_at.update(dict.fromkeys(new, due_ms))
        if due_ms not in self._due_scopes:
            self._due_scopes[due_ms] = []
            heapq.heappush(self._due, due_ms)
        self._due_scopes[due_ms] += new

    def _is_whole(self, scope: str, p: Position) -> bool:
        """Whether the sum is all that was spent: a base sum always is."""
        is_base = p.budget.calendar in BASE_CALENDARS and not is_combination(scope)
        return is_base or self._meters.is_whole(scope, (p.budget.calendar, p.window_start_ms))

    def _drop_unneeded(self, outbox: Outbox) -> None:
        """Forget calendars that no budget needs any more, with their rows and spend records."""
        left = SWEPT_MAX
        for scope, needed in self._unneeded.take(self.spend):
            left -= 1
            spend = self.spend.take(scope)
            assert spend is not None, f"{scope} was found and is gone"
            with_rows = set(spend.closed)
            for window in spend.keep_only(needed):
                left -= 1
                self._spend_queue.drop_closed(scope, window)
                if window in with_rows:
                    self._dirty_closed[scope, window] = False
                else:
                    self._forget(outbox, scope, window)
            if spend.open_windows():
                self._dirty[scope] = None
                # Its row gets another number, and may not have been looked at for missing spend records yet.
                self._spend_queue.add(scope, self._sequence)
                # A sweep that has still to come to it may pass it over.
                self.touch(scope)
            else:
                self.spend.remove(scope)
                self._dirty.pop(scope, None)
                self._spend_queue.drop(scope)
                outbox.to(self._state, self._partition).append((f"{OPEN_PREFIX}{scope}".encode(), None, NO_HEADERS))
            if left <= 0:
                break

    def _write_state(self, outbox: Outbox) -> None:
        expired, self._expired[-SWEPT_MAX:] = self._expired[-SWEPT_MAX:], ()
        if not (self._dirty or self._dirty_closed or expired):
            return
        rows = outbox.to(self._state, self._partition)
        for expired_key in expired:
            rows.append((expired_key, None, NO_HEADERS))
            calendar, start_text, name = expired_key.decode()[2:].split("|", 2)
            self._forget(outbox, name, (calendar, int(start_text)))
        sequence = self._sequence
        for scope in self._dirty:
            spend = self.spend.take(scope)
            assert spend is not None, f"{scope} was changed and is gone"
            rows.append((f"{OPEN_PREFIX}{scope}".encode(), _encode(spend.open_row(sequence)), NO_HEADERS))
        for (scope, window), kept in self._dirty_closed.items():
            calendar, start = window
            spend = self.spend.take(scope)
            packed = spend.closed.get(window) if kept and spend is not None else None
            row = with_sequence(sequence, packed) if packed is not None else None
            if row is None:
                self._forget(outbox, scope, window)
            rows.append((f"w|{calendar}|{start}|{scope}".encode(), row, NO_HEADERS))
        self.spend.settle(self._dirty)
        self._dirty, self._dirty_closed = {}, {}

    def _forget(self, outbox: Outbox, scope: str, window: WindowKey) -> None:
        """Remove the record of a window that is not held any more, so that the compacted topic stays bounded."""
        outbox.to(Topic.SPEND, self._partition).append((spend_key(scope, window), None, NO_HEADERS))

    def restore(self, rows: dict[str, bytes], offsets: dict[str, int]) -> None:
        """Restore from the latest rows of the state topic. The offset row tells which spend records are missing.

        Nothing is decoded, so that a million scopes take a second. Rows of windows past the horizon are left out, and
        deleted from the topic little by little.
        """
        self._resolved.restore(rows)
        self._sequence = offsets["sequence"]
        self.horizon.advance(offsets["clock_ms"])
        said = offsets["said"]
        windows: dict[str, WindowKey] = {}
        unsaid: dict[tuple[str, WindowKey], int] = {}
        if isinstance(rows, StateRows):
            self.spend.restore_rows(rows.open_rows)
        for key, value in rows.items():
            tag, rest = key[0], key[2:]
            if tag == "s":
                self.spend.restore_open(rest, value)
            elif tag == "w":
                calendar, start, scope = rest.split("|", 2)
                window = windows.get(name := calendar + start)
                if window is None:
                    window = windows[name] = (calendar, int(start))
                sequence = sequence_of(value)
                if sequence > said:
                    unsaid[scope, window] = sequence
                elif not self.horizon.holds(*window):
                    self._expired.append(key.encode())
                    continue
                self.spend.restore_closed(scope, window, without_sequence(value))
            elif tag == "d":
                self._standings[rest] = value
        self._spend_queue.restore(said, unsaid)
        self.compare()
        # Windows may have ended and budgets may have changed while no worker ran.
        self.set_budgets(self._budgets, self._stop)
        self._decide_anew()
