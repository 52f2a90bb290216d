"""Who calls, and what they may do."""

from tollgate.console.access.callers import Caller, Role, allow

__all__ = ["Caller", "Role", "allow"]
