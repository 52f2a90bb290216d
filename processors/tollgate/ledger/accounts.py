"""Reservations and credits of one partition's users: decisions, balances, and the state that they need.

Nothing is written by this module; `write` fills an outbox. All decisions depend on the log alone: their clock is that
of the partition's records. Only when nothing arrives does the machine's time end reservations.
"""

import heapq
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Protocol

import msgspec

from tollgate.domain.budgets import Position
from tollgate.domain.credits import Account, FreeCredits
from tollgate.domain.reservations import (
    CONFLICT,
    CROWDED,
    ENDED,
    OPEN_MAX,
    Blocked,
    Denial,
    Open,
    Request,
    Reserved,
    blocked_by,
    decision_of,
    first_of,
    in_the_way,
    lacks_credits,
    limits,
)
from tollgate.ledger.outbox import NO_HEADERS, Outbox, OutRecord
from tollgate.ledger.reservations import HELD_MAX, Key, OpenReservations
from tollgate.schemas.amounts import format_amount
from tollgate.schemas.entries import CreditEntry, ReservationEntry
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs_codec import BalanceRecord, BucketRecord
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.scopes import scope_of
from tollgate.schemas.topics import DECISION_PARTITIONS, Topic
from tollgate.schemas.vocabulary import GLOBAL_SCOPE, Dimension

_encode = msgspec.json.Encoder().encode
_decode_account = msgspec.json.Decoder(Account).decode

_FULL: Final = f"The user's partition has {HELD_MAX:,} open reservations: settle or release some, or let them expire."
_NAMES: Final = tuple(dimension.value for dimension in Dimension if dimension is not Dimension.USER)


class Limits(Protocol):
    """What limits a user, as of the policy in force and of what was counted so far."""

    def scopes_of(self, user: str, names: dict[str, str]) -> tuple[str, ...]:
        """The scopes of a call that contain its user, that of the user alone first."""

    def positions(self, scope: str, user: str, names: dict[str, str], now_ms: int) -> Iterable[Position]:
        """How much of each limit of the scope is spent, but for those that leave such a call alone."""

    def blocked(self, user: str, names: dict[str, str], now_ms: int) -> Iterable[Blocked]:
        """The shared scopes of a call that are blocked or stopped."""

    def free_credits(self, user: str, now_ms: int) -> FreeCredits:
        """What the user's plan gives a day, as of now."""


class Accounts:
    """See above. Every method that takes `now_ms` takes the clock of the partition's records."""

    def __init__(self, partition: int, state: Topic, limits_of_users: Limits) -> None:
        self._partition = partition
        self._state = state
        self._limits = limits_of_users
        self.reservations = OpenReservations(limits_of_users.scopes_of)
        # Accounts as their rows, and those that were used since the last write as objects.
        self._rows: dict[str, bytes] = {}
        self._busy: dict[str, Account] = {}
        # Users whose balance is to be written.
        self._dirty: dict[str, None] = {}
        self._due: list[tuple[int, str]] = []
        self._due_at: dict[str, int] = {}
        self._decisions: list[tuple[int, OutRecord]] = []
        # That of the last operation; it does not go backwards.
        self._clock_ms = 0

    def reserved(self, scope: str) -> Reserved:
        """What open reservations hold of a scope that contains a user."""
        return self.reservations.reserved(scope)

    def _advance(self, now_ms: int) -> None:
        self._clock_ms = max(self._clock_ms, now_ms)
        self.reservations.expire(now_ms)

    # Reservations

    def repeat(self, entry: ReservationEntry, now_ms: int) -> None:
        """Answer a reservation that was read before: as it was answered while it is open, else that it has ended."""
        self._advance(now_ms)
        held = self.reservations.find((entry.subject, entry.source, entry.id))
        if held is not None:
            self._reply(*_reply_to(entry), bytes(held.decision))
        else:
            self._answer(entry, _request(entry, now_ms), ENDED, now_ms)

    def refuse(self, entry: ReservationEntry, now_ms: int) -> None:
        """Answer a reservation whose id another one has. Without an answer its requester would wait for nothing."""
        self._advance(now_ms)
        self._answer(entry, _request(entry, now_ms), CONFLICT, now_ms)

    def reserve(self, entry: ReservationEntry, now_ms: int) -> None:
        """Decide about a reservation that is read for the first time."""
        self._advance(now_ms)
        key = (entry.subject, entry.source, entry.id)
        request = asked = _request(entry, now_ms)
        early = self.reservations.take_early(key)
        if early is not None:
            if early.closed:
                # Its call is done and counted: there is nothing to set aside.
                self._answer(entry, asked, None, now_ms)
                return
            request = replace(
                asked,
                picousd=max(0, asked.picousd - early.used_picousd),
                credits_nano=max(0, asked.credits_nano - early.used_nano),
            )
        denial = first_of(self._denials(request, now_ms))
        decision = self._answer(entry, asked, denial, now_ms)
        if denial is None:
            held = Open(
                request.picousd,
                request.credits_nano,
                request.expires_ms,
                request.names,
                msgspec.Raw(decision),
            )
            self.reservations.open(key, held)

    def _denials(self, request: Request, now_ms: int) -> Iterable[Denial]:
        names = request.names
        for flag in self._limits.blocked(request.user, names, now_ms):
            yield blocked_by(flag, flag.scope == GLOBAL_SCOPE)
        if self.reservations.count_of(request.user) >= OPEN_MAX:
            yield CROWDED
        elif len(self.reservations) >= HELD_MAX:
            yield replace(CROWDED, message=_FULL)
        for scope in self._limits.scopes_of(request.user, names):
            reserved = self.reservations.reserved(scope)
            for position in self._limits.positions(scope, request.user, names, now_ms):
                if limits(position) and (denial := in_the_way(position, scope, reserved, request)) is not None:
                    yield denial
        free = self._limits.free_credits(request.user, now_ms)
        account = self._account(request.user, free, now_ms)
        if account is not None or request.credits_nano:
            held = self._reserved_credits(request.user)
            available = account.available_nano(free, held) if account is not None else -held
            if (denial := lacks_credits(request, available, held, free.per_day_nano)) is not None:
                yield denial

    def _answer(self, entry: ReservationEntry, asked: Request, denial: Denial | None, now_ms: int) -> bytes:
        value = _encode(decision_of(asked, denial, now_ms))
        self._reply(*_reply_to(entry), value)
        return value

    def _reply(self, key: str, partition: int, value: bytes) -> None:
        self._decisions.append((partition, (key.encode(), value, NO_HEADERS)))

    def settle(self, key: Key, picousd: int, credits_nano: int, more: bool, now_ms: int, *, is_read: bool) -> None:
        """Usage of a reservation was counted, or it was released. `is_read`: it was read before, granted or not."""
        self._advance(now_ms)
        if not self.reservations.use(key, picousd, credits_nano, more) and not is_read:
            self.reservations.use_early(key, picousd, credits_nano, more, now_ms)

    # Credits

    def apply_credit(self, entry: CreditEntry, now_ms: int) -> bool:
        """Grant or take back credits. False, and nothing is done, when the user has too many grants."""
        user, free = entry.subject, self._limits.free_credits(entry.subject, now_ms)
        account = self._account(user, free, now_ms) or self._new(user)
        if entry.nano < 0:
            account.take_back(-entry.nano, free, self._clock_ms)
        elif account.is_full():
            return False
        else:
            account.grant(entry.data.kind.value, entry.nano, entry.expires_ms, free, self._clock_ms)
        self._change(user, account)
        return True

    def burn(self, user: str, nano: int, now_ms: int) -> None:
        """A counted event took credits. A user without an account has none to burn."""
        free = self._limits.free_credits(user, now_ms)
        account = self._account(user, free, now_ms)
        if account is not None:
            account.burn(nano, free, self._clock_ms)
            self._change(user, account)

    def _account(self, user: str, free: FreeCredits, now_ms: int) -> Account | None:
        """The user's account as of now; None while they have none and their plan gives no free credits."""
        self._clock_ms = max(self._clock_ms, now_ms)
        account = self._busy.get(user)
        if account is None:
            row = self._rows.get(user)
            if row is None and not free.per_day_nano:
                return None
            account = self._busy[user] = _decode_account(row) if row is not None else Account()
        if account.advance(free, self._clock_ms):
            self._dirty[user] = None
        return account

    def _new(self, user: str) -> Account:
        account = self._busy[user] = Account()
        return account

    def _change(self, user: str, account: Account) -> None:
        self._dirty[user] = None
        self._wake(user, account)

    def _wake(self, user: str, account: Account) -> None:
        """Look at the account again when its next credits expire."""
        due_ms = account.due_ms()
        if due_ms is not None and self._due_at.get(user) != due_ms:
            self._due_at[user] = due_ms
            heapq.heappush(self._due, (due_ms, user))
            if len(self._due) > 1_000 + 2 * len(self._due_at):
                # Most of it was spent before its time.
                self._due = [(due_ms, user) for user, due_ms in self._due_at.items()]
                heapq.heapify(self._due)

    def _reserved_credits(self, user: str) -> int:
        return self.reservations.reserved(scope_of(Dimension.USER, user)).credits_nano

    # Time, state and outputs

    def tick(self, now_ms: int) -> None:
        """End reservations and expire credits whose time has come."""
        self._advance(now_ms)
        while self._due and self._due[0][0] <= now_ms:
            due_ms, user = heapq.heappop(self._due)
            if self._due_at.get(user) == due_ms:
                del self._due_at[user]
                account = self._account(user, self._limits.free_credits(user, now_ms), now_ms)
                assert account is not None, f"{user} has credits that expire and no account"
                self._wake(user, account)

    def has_pending(self) -> bool:
        """Whether `write` would write something."""
        return bool(self._decisions or self._dirty or self.reservations.has_pending())

    def write(self, outbox: Outbox, now_ms: int) -> None:
        """Move decisions, balances and rows into the outbox. `now_ms` is the machine's time."""
        decisions, self._decisions = self._decisions, []
        for partition, record in decisions:
            outbox.to(Topic.DECISIONS, partition).append(record)
        rows = list(self.reservations.take_rows())
        self._dirty |= self.reservations.take_credited()
        for user in self._dirty:
            free = self._limits.free_credits(user, self._clock_ms)
            account = self._account(user, free, self._clock_ms)
            if account is None:
                continue
            account.revision += 1
            row = self._rows[user] = _encode(account)
            rows.append((f"c|{user}".encode(), row, NO_HEADERS))
            value = _encode(self._balance(user, account, free, now_ms))
            outbox.to(Topic.BALANCES, self._partition).append((user.encode(), value, NO_HEADERS))
        self._dirty, self._busy = {}, {}
        if rows:
            outbox.to(self._state, self._partition).extend(rows)

    def _balance(self, user: str, account: Account, free: FreeCredits, now_ms: int) -> BalanceRecord:
        reserved = self._reserved_credits(user)
        midnight_ms = free.next_midnight_ms(self._clock_ms) if free.per_day_nano else None
        return BalanceRecord(
            user=user,
            available=format_amount(account.available_nano(free, reserved)),
            reserved=format_amount(reserved),
            granted=format_amount(account.granted_in_all_nano(free)),
            burned=format_amount(account.burned_nano),
            expired=format_amount(account.expired_nano),
            free_today=format_amount(account.free_left_nano(free)),
            free_per_day=format_amount(free.per_day_nano),
            free_until=format_instant(midnight_ms) if midnight_ms is not None else None,
            buckets=tuple(
                BucketRecord(
                    bucket.kind,
                    format_amount(bucket.left_nano),
                    format_instant(bucket.expires_ms) if bucket.expires_ms is not None else None,
                )
                for bucket in account.buckets
            ),
            revision=account.revision,
            updated_at=format_instant(now_ms),
        )

    def restore(self, rows: dict[str, bytes]) -> None:
        """Take back the rows of `write`."""
        self.reservations.restore(rows)
        for key, row in rows.items():
            if key.startswith("c|"):
                user = key[2:]
                self._rows[user] = row
                self._wake(user, _decode_account(row))


def _request(entry: ReservationEntry, now_ms: int) -> Request:
    """What the entry asks for. It lives from now on."""
    names = {name: given for name in _NAMES if (given := getattr(entry.data, name))}
    expires_ms = now_ms + entry.data.ttl_seconds * 1000
    return Request(entry.source, entry.id, entry.subject, entry.amount_picousd, entry.credits_nano, names, expires_ms)


def _reply_to(entry: ReservationEntry) -> tuple[str, int]:
    """Key and partition of the answer."""
    key = entry.data.reply_to or entry.source
    asked = entry.data.reply_partition
    partition = asked % DECISION_PARTITIONS if asked is not None else partition_of(key.encode(), DECISION_PARTITIONS)
    return key, partition
