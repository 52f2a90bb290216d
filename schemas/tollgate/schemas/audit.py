"""Records of the audit topic: one for every change of a control record that somebody made, and never changed again."""

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from tollgate.schemas.control import FIRST_VERSION, VERSION_MAX, InstantText, Name

# Never told, not even as a hash: nobody needs it in order to see what was changed.
_SECRET_FIELDS: Final = frozenset({"hash"})


class AuditAction(StrEnum):
    """What was done to the record."""

    SET = "set"
    REMOVE = "remove"


class AuditRecord(BaseModel):
    """Value of the audit topic: who changed which control record from what to what, when and why."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    id: Annotated[str, Field(min_length=1, max_length=64)]
    """Names the change; later ones sort behind earlier ones."""
    time: InstantText
    actor: Name
    """Who: `cli:<system user>`, or the caller's name in the console."""
    action: AuditAction
    key: str
    """Key of the control record, for example `budget/user/u-42:month:usd`."""
    kind: str
    """The part of the key before its first slash: `budget`, `price`, `token`, `setting`."""
    before: dict[str, Any] | None = None
    """The record before the change; null when there was none that could be read. Hashes of tokens are left out."""
    after: dict[str, Any] | None = None
    """The record after the change; null when it was removed. Hashes of tokens are left out."""
    reason: str = ""
    version: int = Field(strict=True, ge=FIRST_VERSION, le=VERSION_MAX)
    """The record's version after the change. A removal counts as one."""


def shown_value(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """A control record's value as the audit may tell it."""
    return None if value is None else {name: field for name, field in value.items() if name not in _SECRET_FIELDS}
