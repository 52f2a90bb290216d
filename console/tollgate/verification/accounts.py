"""Compares credits, decisions and reservations with the log: in the state's rows, in balances, and by conservation.

The row of an account has what entries granted less what they took back, what was burned and what expired, what is owed,
and how much of what was burned was free. So always granted + free burned − burned − expired = left − owed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec

from tollgate.schemas.outputs import DecisionError
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic
from tollgate.verification.calendar import milliseconds
from tollgate.verification.entry_log import Asked, Burned, Decided, EntryLog, Granted, Used
from tollgate.verification.report import Check
from tollgate.verification.reserved import Key, Open, key_of, read_open
from tollgate.verification.sums import AMOUNT_DECIMALS, USD_DECIMALS, scaled, signed
from tollgate.verification.sums import plain as decimal
from tollgate.verification.view import View

_decode: Final = msgspec.json.Decoder(list[Any]).decode
_decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode

# A reservation was asked for again after it had ended: an answer of its own.
# Errors of a repeated id, which say nothing about the reservation that had it first.
_REPEATED: Final = (DecisionError.RESERVATION_ENDED, DecisionError.RESERVATION_CONFLICT)


def plain(nano: int) -> str:
    """Credits as a decimal string, negative ones too."""
    return decimal(nano, AMOUNT_DECIMALS)


def _nano(text: str) -> int:
    return signed(text, AMOUNT_DECIMALS)


@dataclass(frozen=True, slots=True)
class Account:
    """A decoded row `c|user`, in 10⁻⁹ credits. `counted_from`: the first usage offset that it counts, if it says so."""

    granted: int
    burned: int
    expired: int
    owed: int
    free_burned: int
    free_burned_today: int
    left: int
    counted_from: int | None

    @property
    def is_conserved(self) -> bool:
        """Whether no credit was made or lost."""
        return self.granted + self.free_burned - self.burned - self.expired == self.left - self.owed


def read_account(value: bytes) -> Account:
    """Decode a row of an account. UnreadableError when it is none."""
    return read_record(_account, value)


def _account(value: bytes) -> Account:
    granted, burned, expired, owed, free_burned, _, today, _, buckets, *more = _decode(value)
    left = sum(bucket[1] for bucket in buckets)
    counted_from = more[0] if more and type(more[0]) is int else None
    return Account(granted, burned, expired, owed, free_burned, today, left, counted_from)


@dataclass(slots=True)
class _Held:
    """What the log says of one reservation."""

    asked: Asked | None = None
    used: list[Used] = field(default_factory=list)
    decisions: dict[bytes, None] = field(default_factory=dict)


class AccountsCheck:
    """Checks a bucket of users after the other. `usage_end` are the first offsets that the state does not count,
    `decisions_whole_from_ms` from when on every decision is still in its topic.
    """

    def __init__(self, log: EntryLog, usage_end: dict[int, int], now_ms: int, decisions_whole_from_ms: int) -> None:
        self._log = log
        self._usage_end = usage_end
        self._now_ms = now_ms
        self._whole_from_ms = decisions_whole_from_ms
        self._void_usage = log.repeats.places(Topic.USAGE)
        self._void_entries = log.repeats.places(Topic.ENTRIES)
        self.credits, self.balances = Check("credits"), Check("balances")
        self.decisions, self.reservations = Check("decisions"), Check("reservations")
        self._granted = self._burned = self._expired = self._left = 0
        # What entries gave and took of the users that were compared, in 10⁻⁹ credits.
        self.entered_nano = 0
        self._users = self._users_found = self._decided = self._answered = self._open = self._open_found = 0

    def finish(self) -> list[Check]:
        """All users were shown."""
        kept = self._granted - self._burned - self._expired
        if kept != self._left:
            self.credits.differs("all accounts together", f"{plain(kept)} left", plain(self._left))
        self.credits.note = (
            f"granted {plain(self._granted)}, burned {plain(self._burned)}, expired {plain(self._expired)}, "
            f"left {plain(self._left)}"
        )
        return [
            self.credits.shows(f"{self._users} accounts", f"{self._users_found} accounts"),
            self.balances.shows(f"{self._users_found} users", f"{self._users_found} users"),
            self.decisions.shows(f"{self._decided} answered", f"{self._answered} answered"),
            self.reservations.shows(f"{self._open} open", f"{self._open_found} open"),
        ]

    def compare(self, bucket: int, view: View) -> None:
        """Look at the users of a bucket."""
        granted: dict[str, int] = {}
        held: dict[Key, _Held] = {}
        for told in self._log.rows(bucket):
            if isinstance(told, Granted):
                if told.place not in self._void_entries:
                    granted[told.user] = granted.get(told.user, 0) + told.nano
            elif isinstance(told, Asked):
                if told.place not in self._void_usage and self._counts(told.place):
                    held.setdefault(told.key, _Held()).asked = told
            elif isinstance(told, Used):
                if told.place not in self._void_usage and self._counts(told.place):
                    held.setdefault(told.key, _Held()).used.append(told)
            elif isinstance(told, Decided):
                held.setdefault(told.key, _Held()).decisions[told.value] = None
        self.entered_nano += sum(granted.values())
        rows = {key[2:]: value for key, value in view.accounts.items() if key.startswith("c|")}
        self._compare_accounts(bucket, granted, rows)
        self._compare_balances(view, rows)
        self._compare_reservations(held, view)

    def _counts(self, place: tuple[int, int]) -> bool:
        """Whether the users' state at the cut counts what was read there."""
        return place[1] < self._usage_end.get(place[0], 0)

    # Credits

    def _compare_accounts(self, bucket: int, granted: dict[str, int], rows: dict[str, bytes]) -> None:
        accounts: dict[str, Account] = {}
        for user in sorted(granted.keys() | rows.keys()):
            self._users += 1
            value = rows.get(user)
            if value is None:
                self.credits.differs(f"account of {user}", f"{plain(granted[user])} credits granted", "no account")
                continue
            self._users_found += 1
            try:
                accounts[user] = account = read_account(value)
            except UnreadableError as error:
                self.credits.differs(f"account of {user}", "a readable one", str(error))
                continue
            self._granted += account.granted + account.free_burned
            self._burned += account.burned
            self._expired += account.expired
            self._left += account.left - account.owed
            given = granted.get(user, 0)
            if account.granted != given:
                self.credits.differs(f"credits granted to {user}", plain(given), plain(account.granted))
            if not account.is_conserved:
                kept = account.granted + account.free_burned - account.burned - account.expired
                self.credits.differs(
                    f"account of {user}", f"{plain(kept)} left of what was granted", plain(account.left - account.owed)
                )
        if accounts:
            self._compare_burned(bucket, accounts)

    def _compare_burned(self, bucket: int, accounts: dict[str, Account]) -> None:
        """An account counts from one usage offset on. Where its row does not say which, one must give its sum."""
        totals = dict.fromkeys(accounts, 0)
        for told in self._burned_in(bucket, accounts):
            start = accounts[told.user].counted_from
            if start is None or told.offset >= start:
                totals[told.user] += told.nano
        # What was burned before the account began, and what of it is seen so far.
        before = {
            user: totals[user] - account.burned
            for user, account in accounts.items()
            if account.counted_from is None and totals[user] != account.burned
        }
        seen = dict.fromkeys(before, 0)
        for told in self._burned_in(bucket, accounts):
            user = told.user
            if user in before:
                seen[user] += told.nano
                if seen[user] == before[user]:
                    del before[user]
        for user, account in accounts.items():
            if user in before or (account.counted_from is not None and totals[user] != account.burned):
                self.credits.differs(f"credits burned by {user}", plain(totals[user]), plain(account.burned))

    def _burned_in(self, bucket: int, accounts: dict[str, Account]) -> Iterator[Burned]:
        return (told for told in self._log.rows(bucket) if isinstance(told, Burned) and told.user in accounts)

    # Balances

    def _compare_balances(self, view: View, rows: dict[str, bytes]) -> None:
        """A balance says what the account's row said at the cut, or after one of the transactions since."""
        for user in sorted(rows.keys() | view.balances.keys()):
            since = [row for row in view.accounts_since.get(f"c|{user}", ()) if row is not None]
            value = view.balances.get(user)
            if value is None:
                if user in rows:
                    self.balances.differs(f"balance of {user}", "one", "none")
                continue
            try:
                said = read_record(_balance, value)
                versions = [read_account(row) for row in (*([rows[user]] if user in rows else ()), *since)]
            except UnreadableError as error:
                self.balances.differs(f"balance of {user}", "a readable one", str(error))
                continue
            if not versions:
                self.balances.differs(f"balance of {user}", "none", "one without an account")
                continue
            kept = said["granted"] - said["burned"] - said["expired"]
            if kept != said["available"] + said["reserved"]:
                found = f"{plain(said['available'])} available and {plain(said['reserved'])} reserved"
                self.balances.differs(f"balance of {user}", f"{plain(kept)} available or reserved", found)
            elif not any(_is_of(said, account) for account in versions):
                last = versions[-1]
                expected = f"granted {plain(last.granted + last.free_burned + said['free_today'])}, "
                expected += f"burned {plain(last.burned)}, expired {plain(last.expired)}"
                found = f"granted {plain(said['granted'])}, burned {plain(said['burned'])}, "
                self.balances.differs(f"balance of {user}", expected, f"{found}expired {plain(said['expired'])}")

    # Reservations and decisions

    def _compare_reservations(self, held: dict[Key, _Held], view: View) -> None:
        rows = {key_of(name): value for name, value in view.accounts.items() if name.startswith("h|")}
        for key in sorted(held.keys() | rows.keys()):
            self._compare_reservation(key, held.get(key, _Held()), rows.get(key))

    def _compare_reservation(self, key: Key, held: _Held, row: bytes | None) -> None:
        user, source, id_ = key
        name = f"reservation {id_} of {source} for {user}"
        try:
            answers = [read_record(_decode_object, value) for value in held.decisions]
            kept = read_open(row) if row is not None else None
        except (UnreadableError, ValueError, TypeError, AttributeError, IndexError) as error:
            self.decisions.differs(name, "a readable decision and row", str(error))
            return
        first = [answer for answer in answers if answer.get("error") not in _REPEATED]
        asked = held.asked
        if len(first) > 1:
            self.decisions.differs(f"decision of {name}", "one", f"{_shown(first[0])}, and {_shown(first[1])}")
        if asked is not None and asked.stamp_ms >= self._whole_from_ms:
            self._decided += 1
            self._answered += bool(answers)
            if not answers:
                self.decisions.differs(f"decision of {name}", "one", "none")
        if asked is not None and first and _amounts(first[0]) != (asked.picousd, asked.nano):
            right = f"{decimal(asked.picousd, USD_DECIMALS)} USD and {plain(asked.nano)} credits"
            self.decisions.differs(f"decision of {name}", f"on {right}", _shown(first[0]))
        self._compare_open(name, held, first, kept)

    def _compare_open(self, name: str, held: _Held, first: list[dict[str, Any]], row: Open | None) -> None:
        """The state holds exactly the reservations that were granted and have not ended, with what is left of them."""
        if held.asked is None or held.asked.stamp_ms < self._whole_from_ms:
            if row is not None and held.asked is None:
                self.reservations.differs(name, "none, because nobody asked for it", "an open one")
            return
        ended = any(use.ends for use in held.used)
        granted = bool(first) and first[0].get("granted") is True
        is_open = granted and not ended
        if not is_open:
            if row is not None:
                why = "it has ended" if ended else "it was not granted"
                self.reservations.differs(name, f"none, because {why}", "an open one")
            return
        if _instant_ms(first[0]) <= self._now_ms:
            # By itself it ends when the partition's clock, or a worker without records, passes its end.
            return
        self._open += 1
        left = [held.asked.picousd, held.asked.nano]
        for use in held.used:
            left = [max(0, left[0] - use.picousd), max(0, left[1] - use.nano)]
        if row is None:
            self.reservations.differs(name, _left(left), "none")
        elif [row.picousd, row.nano] != left:
            self._open_found += 1
            self.reservations.differs(name, _left(left), _left([row.picousd, row.nano]))
        else:
            self._open_found += 1


def _is_of(said: dict[str, int], account: Account) -> bool:
    """Whether the balance is that of the account. Free credits of today are in the balance alone."""
    granted = account.granted + account.free_burned + said["free_today"]
    burned_today = said["free_per_day"] - said["free_today"]
    return (
        (said["granted"], said["burned"], said["expired"]) == (granted, account.burned, account.expired)
        and said["left"] == account.left
        and (not said["free_today"] or burned_today == account.free_burned_today)
    )


def _balance(value: bytes) -> dict[str, int]:
    record = _decode_object(value)
    names = ("available", "reserved", "granted", "burned", "expired", "free_today", "free_per_day")
    said = {name: _nano(record[name]) for name in names}
    return said | {"left": sum(_nano(bucket["left"]) for bucket in record["buckets"])}


def _amounts(decision: dict[str, Any]) -> tuple[int, int]:
    return scaled(str(decision.get("amount_usd")), USD_DECIMALS), _nano(str(decision.get("credits")))


def _instant_ms(decision: dict[str, Any]) -> int:
    return milliseconds(datetime.fromisoformat(str(decision["expires_at"])))


def _shown(decision: dict[str, Any]) -> str:
    what = "granted" if decision.get("granted") is True else f"denied ({decision.get('error')})"
    return f"{what}: {decision.get('amount_usd')} USD and {decision.get('credits')} credits"


def _left(left: list[int]) -> str:
    return f"open with {decimal(left[0], USD_DECIMALS)} USD and {plain(left[1])} credits left"
