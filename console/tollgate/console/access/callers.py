"""Callers, their roles, and the one place where a role is checked."""

from dataclasses import dataclass
from typing import Final, Protocol

from fastapi import Request

from tollgate.console.problems import Problem
from tollgate.schemas.tokens import Role

__all__ = ["ANYONE", "Allow", "Anyone", "Caller", "Gate", "Role", "allow", "not_authenticated"]

_INCLUDED: Final = {
    Role.VIEWER: frozenset({Role.VIEWER, Role.ANALYST, Role.ADMIN}),
    Role.ANALYST: frozenset({Role.ANALYST, Role.ADMIN}),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a request.

    `name` is what the audit shows as the actor. `user` is whose data the role `user` may see. `org` confines any role
    to the data of one org; empty for the whole company. `token_id` names the own token or session that was shown, and
    `session` says that it was a cookie. `embedded` callers may see the page /me and nothing else. `expires_at` is the
    second since 1970 at which a JWT expires.
    """

    name: str
    role: Role
    user: str = ""
    org: str = ""
    token_id: str = ""
    session: bool = False
    embedded: bool = False
    expires_at: int | None = None


class Gate(Protocol):
    """What a route's access rule asks: `tollgate.console.access.gate.Access`."""

    async def identify(self, request: Request) -> Caller | None:
        """Who calls; None when nobody that is known."""

    def holds(self, caller: Caller) -> bool:
        """Whether a caller who was identified before still would be."""

    async def admit(self, request: Request, caller: Caller | None) -> None:
        """Counts the request. Raises Problem 429 when there were too many."""


class Allow:
    """A dependency of a route: the caller, if their role is one of `roles`. 401 without a caller, 403 otherwise."""

    def __init__(self, roles: frozenset[Role]) -> None:
        self.roles = roles

    async def __call__(self, request: Request) -> Caller:
        """The caller of this request."""
        gate: Gate = request.app.state.parts.access
        caller = await gate.identify(request)
        request.state.caller = caller
        await gate.admit(request, caller)
        if caller is None:
            raise not_authenticated()
        if caller.role not in self.roles:
            raise Problem(403, "not_allowed", f"The role {caller.role.value} may not do this.")
        return caller


class Anyone:
    """A dependency of a route that needs no caller: the login page, files of the pages, the API's description."""

    async def __call__(self) -> None:
        """Nothing to check."""


ANYONE: Final = Anyone()


def not_authenticated() -> Problem:
    """The answer to a request whose caller is not known."""
    detail = "Send a valid token: Authorization: Bearer …"
    return Problem(401, "not_authenticated", detail, headers={"WWW-Authenticate": 'Bearer realm="tollgate"'})


def allow(*roles: Role) -> Allow:
    """The access rule of a route: these roles, and those that include one of them."""
    return Allow(frozenset().union(*(_INCLUDED.get(role, frozenset({role})) for role in roles)))
