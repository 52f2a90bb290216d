"""What the control topic says: records by key, versions of what was removed, requests of the last day. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from tollgate.control.records import REQUEST_KEY_PREFIX, Held, RequestRecord, as_held, model_of
from tollgate.schemas.control import (
    ASSIGNMENT_KEY_PREFIX,
    BUDGET_KEY_PREFIX,
    FIRST_VERSION,
    PLAN_KEY_PREFIX,
    PRICE_KEY_PREFIX,
    VERSION_MAX,
    AssignmentRecord,
    BudgetRecord,
    ControlRecord,
    PlanRecord,
    PriceRecord,
)
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.tokens import TOKEN_KEY_PREFIX, TokenKind

# Headers of every record that a change writes: the change's id, and the version, which a removal has no value for.
AUDIT_HEADER: Final = "audit"
VERSION_HEADER: Final = "version"

Headers = Sequence[tuple[str, bytes | None]]

REQUEST_MS: Final = 24 * 60 * 60 * 1000

_SHORT_LIVED: Final = (TokenKind.SESSION.value, TokenKind.LOGIN.value)


class State:
    """Takes in the topic's records in order."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.budgets: dict[str, BudgetRecord] = {}
        self.plans: dict[str, PlanRecord] = {}
        # By `user/<name>`, and `default`.
        self.assignments: dict[str, AssignmentRecord] = {}
        self.prices: dict[str, PriceRecord] = {}
        self.requests: dict[str, RequestRecord] = {}
        self.unreadable: set[str] = set()
        self._removed: dict[str, int] = {}

    def take(self, key: str, value: bytes | None, headers: Headers) -> None:
        """One record of the topic. What is no record of a kind that is held is left out."""
        if key.startswith(REQUEST_KEY_PREFIX):
            self._take_request(key, value)
            return
        model = model_of(key)
        if model is None:
            return
        before = self.version(key)
        self._forget(key)
        if value is None:
            # Ids of tokens are random and never used again.
            if not key.startswith(TOKEN_KEY_PREFIX):
                self._removed[key] = _version_header(headers) or before + 1
            return
        self._removed.pop(key, None)
        try:
            self._hold(key, read_record(model.model_validate_json, value))
        except UnreadableError:
            self.unreadable.add(key)

    def version(self, key: str) -> int:
        """The version of the record under this key; 0 when there is none. One that cannot be read is the first."""
        held = self.held.get(key)
        if held is not None:
            return held.version
        return FIRST_VERSION if key in self.unreadable else 0

    def next_version(self, key: str) -> int:
        """The version that a change makes. A key that is set again goes on counting after its removal, so that nobody
        takes the new record for the old one; Kafka remembers a removal for a day.
        """
        # Another program may have written the largest one.
        return min(max(self.version(key), self._removed.get(key, 0)) + 1, VERSION_MAX)

    def over(self, now_ms: int) -> list[str]:
        """Keys of what is of no use any more: requests older than a day, sessions and login links that expired."""
        keys = [key for key, request in self.requests.items() if request.at_ms + REQUEST_MS <= now_ms]
        for key, held in self.held.items():
            if held.value.get("kind") in _SHORT_LIVED and key.startswith(TOKEN_KEY_PREFIX):
                expires = held.value.get("expires_at")
                if expires is not None and parse_instant(expires) <= now_ms:
                    keys.append(key)
        return keys

    def _hold(self, key: str, record: ControlRecord) -> None:
        self.held[key] = as_held(key, record)
        name = key.partition("/")[2]
        if isinstance(record, BudgetRecord):
            self.budgets[name] = record
        elif isinstance(record, PlanRecord):
            self.plans[name] = record
        elif isinstance(record, AssignmentRecord):
            self.assignments[name] = record
        elif isinstance(record, PriceRecord):
            self.prices[name] = record

    def _forget(self, key: str) -> None:
        self.unreadable.discard(key)
        if self.held.pop(key, None) is not None:
            kind, slash, name = key.partition("/")
            of_kind: dict[str, dict[str, Any]] = {
                BUDGET_KEY_PREFIX: self.budgets,
                PLAN_KEY_PREFIX: self.plans,
                ASSIGNMENT_KEY_PREFIX: self.assignments,
                PRICE_KEY_PREFIX: self.prices,
            }
            of_kind.get(kind + slash, {}).pop(name, None)

    def _take_request(self, key: str, value: bytes | None) -> None:
        self.requests.pop(key, None)
        if value is not None:
            try:
                self.requests[key] = read_record(RequestRecord.model_validate_json, value)
            except UnreadableError:
                return


def _version_header(headers: Headers) -> int:
    """0 when there is none: a program of another release removed the record."""
    text = next((value for name, value in headers if name == VERSION_HEADER), None) or b""
    return int(text) if text.isdigit() and len(text) <= 16 else 0
