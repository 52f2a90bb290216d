"""What a caller may see: their own data, their org's, or everything. Every room asks here."""

from tollgate.console.access.callers import Caller, Role
from tollgate.console.numbers import Restriction
from tollgate.console.problems import Problem
from tollgate.console.scope_parts import includes
from tollgate.schemas.scopes import Dimension, parse_names, scope_of


def restriction_of(caller: Caller) -> Restriction:
    """What questions to ClickHouse are confined to: a user's own data, an org's, or nothing.

    Raises Problem 403 for the role `user` without a user: an empty name would confine to nothing.
    """
    if caller.role is not Role.USER:
        return Restriction(org=caller.org)
    if not caller.user:
        raise Problem(403, "not_allowed", "This token is of the role user and names no user.")
    return Restriction(user=caller.user, org=caller.org)


def may_see(caller: Caller, scope: str) -> bool:
    """Whether the sums, flags and alerts of this scope may be shown to the caller.

    Without a user and an org all may. A user sees `user/<them>`, an org's people `org/<theirs>`, and combinations that
    have this name, which are a part of it. Nothing in another scope says whose it is. What users of an org spent is
    asked for with `restriction_of`.
    """
    allowed = restriction_of(caller)
    if allowed.user:
        return includes(scope, scope_of(Dimension.USER, allowed.user))
    return not allowed.org or includes(scope, scope_of(Dimension.ORG, allowed.org))


def check_scope(caller: Caller, scope: str) -> None:
    """Raises Problem: 422 when the text is no scope, 403 when the caller may not see it, whether it exists or not."""
    try:
        parse_names(scope)
    except ValueError as error:
        raise Problem(422, "invalid_scope", f"{error}.") from None
    if not may_see(caller, scope):
        raise Problem(403, "not_allowed", "You may see your own data only.")
