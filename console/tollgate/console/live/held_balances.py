"""The credits of users, as the topic has them."""

from typing import Final

from tollgate.console.live.ignored import Ignored
from tollgate.schemas.outputs import Balance
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic

USERS_MAX: Final = 200_000
"""With some 500 bytes each these take 100 MB."""


class HeldBalances:
    """By user the balance that was last written."""

    def __init__(self, ignored: Ignored) -> None:
        self._balances: dict[str, bytes] = {}
        self._ignored = ignored
        self.left_out = 0
        """How many records were left out because there are too many users."""

    def take(self, key: bytes, value: bytes | None) -> None:
        """Take in a record."""
        try:
            user = key.decode()
            if value is None:
                self._balances.pop(user, None)
                return
            record = read_record(Balance.model_validate_json, value)
        except (UnreadableError, UnicodeDecodeError) as error:
            self._ignored.note(
                Topic.BALANCES, "the key is not UTF-8" if isinstance(error, UnicodeError) else str(error)
            )
            return
        if record.user != user:
            self._ignored.note(Topic.BALANCES, "the key is not the user")
        elif user in self._balances or len(self._balances) < USERS_MAX:
            self._balances[user] = value
        else:
            self.left_out += 1

    def forget(self) -> None:
        """Forget everything."""
        self._balances.clear()
        self.left_out = 0

    def get(self, user: str) -> Balance | None:
        """The user's balance; None when there is none, or it was left out."""
        value = self._balances.get(user)
        return None if value is None else Balance.model_validate_json(value)

    def knows(self, user: str) -> bool:
        """Whether `get` tells the truth about this user."""
        return not self.left_out or user in self._balances
