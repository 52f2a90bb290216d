"""The page of settings: the stop by hand, what the installation is set to, and who may use the API."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tollgate.console.access.callers import Role
from tollgate.console.api.asking import Viewer
from tollgate.console.api.settings import installation
from tollgate.console.api.tokens import tokens_of
from tollgate.console.pages.rendering import render
from tollgate.console.parts import TheParts
from tollgate.console.room import Entry, Room
from tollgate.schemas.tokens import TokenKind

# Somebody with more of them asks the API, which has pages.
_TOKENS_SHOWN: Final = 200
_ROLES: Final = frozenset({Role.VIEWER, Role.ANALYST, Role.ADMIN})

router = APIRouter()


@router.get("/settings")
async def show_settings(request: Request, parts: TheParts, caller: Viewer) -> HTMLResponse:
    """The settings. Those of the whole company are not for the people of an org; tokens are for admins."""
    is_admin = caller.role is Role.ADMIN
    tokens = sorted(tokens_of(parts.control, caller, TokenKind.API), key=lambda one: one.created_at, reverse=True)
    return render(
        request,
        caller,
        "settings.html",
        now=None if caller.org else installation(parts),
        may_change=is_admin,
        tokens=tokens[:_TOKENS_SHOWN] if is_admin else None,
        more_tokens=len(tokens) - _TOKENS_SHOWN,
    )


ROOM: Final = Room("settings page", pages=router, entries=(Entry("Settings", "/settings", "settings", _ROLES),))
