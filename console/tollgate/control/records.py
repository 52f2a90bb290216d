"""Control records as they are held in memory, and which kinds there are."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from tollgate.schemas.control import (
    ASSIGNMENT_KEY_PREFIX,
    BUDGET_KEY_PREFIX,
    DEFAULT_ASSIGNMENT_KEY,
    PLAN_KEY_PREFIX,
    PRICE_KEY_PREFIX,
    SETTING_KEY_PREFIX,
    AssignmentRecord,
    BudgetRecord,
    ControlRecord,
    PlanRecord,
    PriceRecord,
    SettingRecord,
)
from tollgate.schemas.scopes import Dimension, parse_scope
from tollgate.schemas.tokens import TOKEN_KEY_PREFIX, TokenRecord

# Every kind of record that people change. Another release's kinds are neither held nor changed.
KINDS: Final[Mapping[str, type[ControlRecord]]] = {
    BUDGET_KEY_PREFIX: BudgetRecord,
    PLAN_KEY_PREFIX: PlanRecord,
    ASSIGNMENT_KEY_PREFIX: AssignmentRecord,
    PRICE_KEY_PREFIX: PriceRecord,
    SETTING_KEY_PREFIX: SettingRecord,
    TOKEN_KEY_PREFIX: TokenRecord,
}
REQUEST_KEY_PREFIX: Final = "request/"

# Set by the change itself, whatever the given value says; last in a stored value.
CHANGE_FIELDS: Final = ("actor", "reason", "version", "updated_at")


class Held(NamedTuple):
    """A record in force. `value` is in canonical form; `actor`, `reason` and `updated_at` may be empty."""

    key: str
    value: dict[str, Any]
    version: int
    updated_at: str
    actor: str
    reason: str


class Changed(NamedTuple):
    """What a change did. `version` is the new one; `replayed` is whether an earlier request had already done it."""

    key: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    version: int
    audit_id: str
    replayed: bool


class RequestRecord(BaseModel):
    """Value of `request/<hash of actor and idempotency key>`: what the request did, so that it is done once."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    content: str
    """Hash of what was asked for."""
    at_ms: int
    key: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    version: int
    audit_id: str

    def changed(self) -> Changed:
        """The answer to the same request again."""
        return Changed(self.key, self.before, self.after, self.version, self.audit_id, replayed=True)


def kind_of(key: str) -> str:
    """The part of the key that names its kind, with the slash: `budget/`."""
    kind, slash, _ = key.partition("/")
    return kind + slash


def model_of(key: str) -> type[ControlRecord] | None:
    """The model of the key's kind; None for a kind that nobody changes."""
    kind, slash, name = key.partition("/")
    return KINDS.get(kind + slash) if name else None


def canonical(record: ControlRecord) -> dict[str, Any]:
    """The record as it is stored: what is not given is left out, what the change set comes last."""
    value = record.model_dump(mode="json", exclude_none=True)
    return {name: value[name] for name in sorted(value, key=lambda name: name in CHANGE_FIELDS)}


def as_held(key: str, record: ControlRecord) -> Held:
    """The record as it is held under its key."""
    return Held(key, canonical(record), record.version, record.updated_at or "", record.actor, record.reason)


def validated(key: str, value: dict[str, Any] | None) -> ControlRecord | None:
    """The record that a change would make; None for a removal.

    ValueError with a sentence; pydantic's ValidationError is one as well.
    """
    model = model_of(key)
    if model is None:
        raise ValueError(f"{key[:64]!r} is no key of a record that can be changed")
    if value is None:
        return None
    name = key.removeprefix(kind_of(key))
    if model is PlanRecord and not value.get("id"):
        value = value | {"id": name}
    record = model.model_validate(value)
    if isinstance(record, AssignmentRecord) and key != DEFAULT_ASSIGNMENT_KEY:
        dimension_and_user = parse_scope(name)
        if dimension_and_user is None or dimension_and_user[0] is not Dimension.USER:
            raise ValueError(f"a plan is assigned to a user or to default, and not to {name[:64]!r}")
    identity = record.name if isinstance(record, SettingRecord) else getattr(record, "id", None)
    if identity is not None and name != identity:
        raise ValueError(f"the id {identity[:64]!r} is not that of the key {key[:64]!r}")
    return record
