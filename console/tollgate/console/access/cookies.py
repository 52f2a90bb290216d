"""The session's cookie."""

from typing import Final

from fastapi import Request, Response

_PLAIN: Final = "tollgate_session"
# A browser takes a cookie of this name only over TLS, for this host alone and for all paths.
_SECURE: Final = "__Host-tollgate_session"
_CHARS_MAX: Final = 128


def cookie_name(secure: bool) -> str:
    """The cookie's name behind TLS and without."""
    return _SECURE if secure else _PLAIN


def read_cookie(request: Request, secure: bool) -> str | None:
    """What the browser sent, None when nothing that could be a session."""
    text = request.cookies.get(cookie_name(secure))
    return text if text and len(text) <= _CHARS_MAX else None


def set_cookie(response: Response, text: str, secure: bool, seconds: int) -> None:
    """Let the browser keep the session: no script reads it, and no other site's form sends it."""
    response.set_cookie(
        cookie_name(secure), text, max_age=seconds, path="/", secure=secure, httponly=True, samesite="lax"
    )


def forget_cookie(response: Response, secure: bool) -> None:
    """Let the browser drop the session."""
    response.delete_cookie(cookie_name(secure), path="/", secure=secure, httponly=True, samesite="lax")
