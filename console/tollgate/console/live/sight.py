"""What a caller may see of the topics in memory."""

from typing import NamedTuple

from tollgate.console.access.callers import Caller, Role
from tollgate.console.live.changes import Change
from tollgate.console.scope_parts import includes
from tollgate.schemas.outputs import Flag
from tollgate.schemas.scopes import GLOBAL_SCOPE, Dimension, scope_of


class Sight(NamedTuple):
    """Everything, or one scope and its combinations. Nothing at all when the scope is the empty string."""

    scope: str | None

    @classmethod
    def of(cls, caller: Caller) -> "Sight":
        """A `user` sees their own scope, whoever belongs to an org sees the org's, anybody else sees everything."""
        if caller.role is Role.USER:
            return cls(scope_of(Dimension.USER, caller.user) if caller.user else "")
        return cls(scope_of(Dimension.ORG, caller.org) if caller.org else None)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is hidden."""
        return self.scope is None

    def sees(self, scope: str) -> bool:
        """Whether the numbers of this scope may be shown."""
        return self.scope is None or bool(self.scope and includes(scope, self.scope))

    def may_hear(self, change: Change) -> bool:
        """Whether the caller may be told that something changed."""
        return self.sees(change.scope) or (change.kind == "flag" and change.name == GLOBAL_SCOPE)

    def of_flag(self, flag: Flag) -> Flag | None:
        """The flag as it may be shown. A stop of the whole company is shown to everybody, without its numbers."""
        if self.sees(flag.scope):
            return flag
        return self.of_decision(flag) if flag.scope == GLOBAL_SCOPE and flag.blocked else None

    def of_decision(self, flag: Flag) -> Flag:
        """The flag as it may be told to somebody who asked about a call: its numbers only where they may be shown."""
        if self.sees(flag.scope):
            return flag
        hidden = {"budget": None, "limit": None, "unit": None, "spent": None, "percent": None, "note": None}
        return flag.model_copy(update=hidden)
