"""Compares ClickHouse's balances with the records of the topic that they are of."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.verification.clickhouse import BALANCE_NUMBERS
from tollgate.verification.report import Check
from tollgate.verification.sums import AMOUNT_DECIMALS, plain, signed
from tollgate.verification.view import View

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_encode: Final = msgspec.json.Encoder().encode
_decode_row: Final = msgspec.json.Decoder(list[str]).decode


def encode_row(said: list[str]) -> bytes:
    """The numbers of a row as `compare` finds them in a view."""
    return _encode(said)


class BalanceRowsCheck(Check):
    """Each user's row is their record, or a later one. `ends`: where the topic ended when its records were read."""

    def __init__(self, ends: Mapping[int, int]) -> None:
        super().__init__("ClickHouse balances")
        self._ends = ends
        self._users = self._agreed = 0

    def compare(self, view: View) -> None:
        """Look at the users of a bucket."""
        for user in sorted(view.balances.keys() | view.balance_table.keys()):
            row, value = view.balance_table.get(user), view.balances.get(user)
            if row is not None and row[1][1] >= self._ends.get(row[1][0], 0):
                # It has moved on since.
                continue
            self._users += 1
            try:
                record = None if value is None else read_record(_numbers, value)
            except UnreadableError:
                # The topic's own check tells it.
                self._agreed += 1
                continue
            if row is None:
                self.differs(f"row of {user}", "one", "none")
            elif record is None:
                self.differs(f"row of {user}", "none", "one")
            elif view.balance_places.get(user) != row[1]:
                self.differs(f"row of {user}", f"that of {view.balance_places.get(user)}", f"that of {row[1]}")
            elif (found := _scaled(_decode_row(row[0]))) != record:
                self.differs(f"row of {user}", _shown(record), _shown(found))
            else:
                self._agreed += 1

    def finish(self) -> Check:
        """All users were shown."""
        return self.shows(f"{self._users} users", f"{self._agreed} users")


def _numbers(value: bytes) -> list[int]:
    record = _decode(value)
    return _scaled([record[name] for name in BALANCE_NUMBERS])


def _scaled(said: list[str]) -> list[int]:
    return [signed(text, AMOUNT_DECIMALS) for text in said]


def _shown(numbers: list[int]) -> str:
    return ", ".join(
        f"{plain(nano, AMOUNT_DECIMALS)} {name}" for name, nano in zip(BALANCE_NUMBERS, numbers, strict=True)
    )
