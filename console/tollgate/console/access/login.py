"""The room in which people log in and out: `/login` and `/logout`."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tollgate.console.access.callers import ANYONE, Caller, Role
from tollgate.console.access.cookies import forget_cookie, set_cookie
from tollgate.console.addresses import local_path
from tollgate.console.pages import render
from tollgate.console.parts import TheParts
from tollgate.console.room import Room

_CHARS_MAX: Final = 8300
_SEE_OTHER: Final = 303

router = APIRouter(dependencies=[Depends(ANYONE)])

Text = Annotated[str, Form(max_length=_CHARS_MAX)]


@router.get("/login")
async def show(
    request: Request,
    code: Annotated[str, Query(max_length=_CHARS_MAX)] = "",
    next: Annotated[str, Query(max_length=_CHARS_MAX)] = "",  # noqa: A002 # the parameter's public name
) -> HTMLResponse:
    """The login page. A link with a code shows a button: a preview of the link must not use it up."""
    return render(request, None, "login.html", code=code, next=local_path(next), error="")


@router.post("/login")
async def log_in(
    request: Request,
    parts: TheParts,
    code: Text = "",
    token: Text = "",
    next: Text = "",  # noqa: A002 # the field's public name
) -> Response:
    """Begin a session and go on to `next`; with a wrong code or token the login page again, with status 401."""
    begun = await parts.access.log_in(request, code=code.strip(), token=token.strip())
    wanted = local_path(next)
    if begun is None:
        error = "This link was used before, or has expired." if code else "This token is not valid."
        return render(request, None, "login.html", status=401, code="", next=wanted, error=error)
    text, caller, seconds = begun
    answer = RedirectResponse(_home(caller) if wanted == "/" else wanted, _SEE_OTHER)
    set_cookie(answer, text, parts.access.network.is_secure(request.scope), seconds)
    return answer


@router.post("/logout")
async def log_out(request: Request, parts: TheParts) -> Response:
    """End the session, in every process, and forget the cookie."""
    caller = await parts.access.identify(request)
    if caller is not None and caller.session:
        await parts.access.sessions.end(caller)
    answer = RedirectResponse("/login", _SEE_OTHER)
    forget_cookie(answer, parts.access.network.is_secure(request.scope))
    return answer


def _home(caller: Caller) -> str:
    """The first page that a role may see."""
    return "/me" if caller.role is Role.USER else "/"


ROOM: Final = Room("login", pages=router)
