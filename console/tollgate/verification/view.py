"""All that is known of a bucket of scopes: the state at the cut and since, spend records, flags, ClickHouse's rows."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from tollgate.verification.calendar import KINDS as _BASE
from tollgate.verification.following import Kind, Row, rows_of
from tollgate.verification.names import is_combination
from tollgate.verification.reserved import Open, key_of, read_open
from tollgate.verification.snapshot import Cut
from tollgate.verification.spill import Spill
from tollgate.verification.state import is_of_account, scope_of, windows_of
from tollgate.verification.sums import Sum

Place = tuple[int, int]

_decode_sum = msgspec.json.Decoder(tuple[int, int, int, dict[str, int]]).decode
_encode = msgspec.json.Encoder().encode


def encode_sum(amount: Sum) -> bytes:
    """A sum as the value of a row."""
    return _encode((amount.cost_picousd, amount.retail_picousd, amount.events, amount.usage_nano))


@dataclass(slots=True)
class View:
    """`state` is every window at the cut. `since` has, scope by scope, the sums of each row written after it, in order;
    `moved` the same by window; `forgotten` are windows that were given up after the cut. `spend` is the latest record
    of each window when the state was last read beside it, with its place. `spend_since` is what was written later.
    `table` is ClickHouse's.
    """

    state: dict[str, Sum] = field(default_factory=dict)
    since: dict[str, list[list[tuple[str, Sum | None]]]] = field(default_factory=dict)
    moved: dict[str, list[Sum]] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    spend: dict[str, tuple[Place, bytes]] = field(default_factory=dict)
    spend_since: dict[str, list[tuple[Place, bytes]]] = field(default_factory=dict)
    flags: dict[str, bytes] = field(default_factory=dict)
    table: dict[str, tuple[Sum, Place]] = field(default_factory=dict)
    months: dict[tuple[str, int], Sum] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    # Rows of accounts and reservations at the cut by their keys; and what was written since, in order.
    accounts: dict[str, bytes] = field(default_factory=dict)
    accounts_since: dict[str, list[bytes | None]] = field(default_factory=dict)
    balances: dict[str, bytes] = field(default_factory=dict)
    # Where the records of `balances` are, and ClickHouse's rows with the place that each names.
    balance_places: dict[str, Place] = field(default_factory=dict)
    balance_table: dict[str, tuple[bytes, Place]] = field(default_factory=dict)
    # The newest windows in other calendars that a scope's row had, by calendar.
    newest: dict[str, dict[str, str]] = field(default_factory=dict)
    # Windows that have rows of their own at the cut, because newer ones have replaced them.
    replaced: set[str] = field(default_factory=set)
    _open: dict[str, list[Open]] | None = None

    def open_of(self, user: str) -> list[Open]:
        """The user's open reservations at the cut."""
        if self._open is None:
            self._open = {}
            for name, value in self.accounts.items():
                with suppress(ValueError, TypeError, AttributeError, IndexError):
                    if name.startswith("h|") and (found := read_open(value)) is not None:
                        self._open.setdefault(key_of(name)[0], []).append(found)
        return self._open.get(user, [])

    def reserved_since(self, user: str) -> bool:
        """Whether a reservation of the user was opened, used or ended since."""
        return any(name.startswith("h|") and key_of(name)[0] == user for name in self.accounts_since)

    def versions(self, scope: str, windows: list[str]) -> Iterator[dict[str, Sum]]:
        """These windows of the scope as the state had them at the cut, and after each row since."""
        now = {key: self.state[key] for key in windows if key in self.state}
        yield now
        wanted = set(windows)
        for row in self.since.get(scope, ()):
            changes = {key: amount for key, amount in row if key in wanted and amount is not None}
            if changes:
                now = now | changes
                yield now


def load(spill: Spill, bucket: int, cut: Cut) -> View:
    """Read a bucket back."""
    view = View()
    for row in rows_of(spill, bucket):
        if row.kind in (Kind.USER_STATE, Kind.SHARED_STATE):
            take_state(view, row, cut)
        elif row.kind is Kind.SPEND:
            if row.offset >= cut.spend_rows.get(row.partition, 0):
                if row.value is not None:
                    view.spend_since.setdefault(row.name, []).append(((row.partition, row.offset), row.value))
            elif row.value is None:
                view.spend.pop(row.name, None)
            else:
                view.spend[row.name] = ((row.partition, row.offset), row.value)
        elif row.kind is Kind.FLAG:
            _set(view.flags, row.name, row.value)
        elif row.kind is Kind.BALANCE:
            _set(view.balances, row.name, row.value)
            view.balance_places[row.name] = (row.partition, row.offset)
        elif row.kind is Kind.BALANCE_TABLE:
            view.balance_table[row.name] = (row.value or b"", (row.partition, row.offset))
        elif row.kind is Kind.SPEND_TABLE:
            view.table[row.name] = (Sum(*_decode_sum(row.value or b"")), (row.partition, row.offset))
        else:
            view.months[row.name, row.offset] = Sum(*_decode_sum(row.value or b""))
    return view


def _set(held: dict[str, bytes], name: str, value: bytes | None) -> None:
    if value is None:
        held.pop(name, None)
    else:
        held[name] = value


def take_state(view: View, row: Row, cut: Cut) -> None:
    """Add a row of a state topic, which follows those of its partition that were added before."""
    if is_of_account(row.key):
        if row.offset < cut.user_rows.get(row.partition, 0):
            _set(view.accounts, row.name, row.value)
        else:
            view.accounts_since.setdefault(row.name, []).append(row.value)
        return
    try:
        windows = windows_of(row.key, row.value)
        scope = scope_of(row.key)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        view.unreadable.append(f"{row.name[:80]}: {type(error).__name__}")
        return
    assert scope is not None, "rows of other things are not kept"
    ends = cut.user_rows if row.kind is Kind.USER_STATE else cut.shared_rows
    is_at_cut = row.offset < ends.get(row.partition, 0)
    if row.key[:2] == b"s|":
        windows += _ended(view, scope, windows, are_replaced=is_at_cut)
    elif is_at_cut:
        view.replaced.update(key for key, _ in windows)
    if is_at_cut:
        for key, amount in windows:
            if amount is None:
                view.state.pop(key, None)
            else:
                view.state[key] = amount
        return
    view.since.setdefault(scope, []).append(windows)
    for key, amount in windows:
        if amount is None:
            view.forgotten.add(key)
        else:
            seen = view.moved.setdefault(key, [])
            before = seen[-1] if seen else view.state.get(key)
            if amount != before:
                seen.append(amount)


def _ended(
    view: View, scope: str, windows: list[tuple[str, Sum | None]], *, are_replaced: bool
) -> list[tuple[str, Sum | None]]:
    """The newest windows in other calendars that the scope's row has no more: no budget needs them; or, if wanted,
    newer ones are in their place, and they have no rows of their own.
    """
    is_combined = is_combination(scope)
    found = {key.rsplit("|", 2)[1]: key for key, _ in windows}
    newest = {calendar: key for calendar, key in found.items() if is_combined or calendar not in _BASE}
    before = view.newest.get(scope, {})
    if newest or before:
        view.newest[scope] = newest
    return [
        (key, None)
        for calendar, key in before.items()
        if calendar not in newest or (are_replaced and newest[calendar] != key and key not in view.replaced)
    ]
