"""Callers, their roles, and the one place where a role is checked."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from fastapi import Request

from tollgate.console.problems import Problem
from tollgate.schemas.tokens import Role

__all__ = ["ANYONE", "Allow", "Anyone", "Caller", "Identify", "Role", "allow"]

_INCLUDED: Final = {
    Role.VIEWER: frozenset({Role.VIEWER, Role.ANALYST, Role.ADMIN}),
    Role.ANALYST: frozenset({Role.ANALYST, Role.ADMIN}),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a request.

    `name` is what the audit shows as the actor. `user` is whose data the role `user` may see. `org` confines any role
    to the data of one org; empty for the whole company.
    """

    name: str
    role: Role
    user: str = ""
    org: str = ""
    token_id: str = ""


Identify = Callable[[Request], Awaitable[Caller | None]]


class Allow:
    """A dependency of a route: the caller, if their role is one of `roles`. 401 without a caller, 403 otherwise."""

    def __init__(self, roles: frozenset[Role]) -> None:
        self.roles = roles

    async def __call__(self, request: Request) -> Caller:
        """The caller of this request."""
        identify: Identify = request.app.state.parts.access.identify
        caller = await identify(request)
        if caller is None:
            raise Problem(401, "not_authenticated", "Send a token: Authorization: Bearer …")
        if caller.role not in self.roles:
            raise Problem(403, "not_allowed", f"The role {caller.role.value} may not do this.")
        return caller


class Anyone:
    """A dependency of a route that needs no caller: the login page, files of the pages, the API's description."""

    async def __call__(self) -> None:
        """Nothing to check."""


ANYONE: Final = Anyone()


def allow(*roles: Role) -> Allow:
    """The access rule of a route: these roles, and those that include one of them."""
    return Allow(frozenset().union(*(_INCLUDED.get(role, frozenset({role})) for role in roles)))
