"""Who may use the console: roles, and the control records `token/<id>` behind tokens, sessions and login links."""

import hmac
import re
import secrets
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Final, NamedTuple

from pydantic import Field

from tollgate.schemas.control import ControlRecord, InstantText, Name
from tollgate.schemas.instants import format_instant, parse_instant

TOKEN_KEY_PREFIX: Final = "token/"  # noqa: S105 # the prefix of a key, no secret

# 256 bits cannot be guessed, so that a plain SHA-256 of them needs neither salt nor a slow function.
_SECRET_BYTES: Final = 32
_ID_PATTERN: Final = r"^[0-9a-f]{16}$"
_HASH_PATTERN: Final = r"^[0-9a-f]{64}$"
_TEXT: Final = re.compile(r"tg_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


class Role(StrEnum):
    """What a caller may do. `admin` may do what `analyst` may, who may do what `viewer` may."""

    USER = "user"
    """Their own data only."""
    VIEWER = "viewer"
    """All sums, flags and alerts."""
    ANALYST = "analyst"
    """Single events and reports as well."""
    ADMIN = "admin"
    """Changes budgets, prices, settings and tokens."""
    SERVICE = "service"
    """Reports usage and asks for decisions."""


class TokenKind(StrEnum):
    """What a token is for."""

    API = "api"
    """`Authorization: Bearer …` of a program."""
    SESSION = "session"
    """The cookie of a person who is logged in."""
    LOGIN = "login"
    """A link that logs in once."""


class TokenRecord(ControlRecord):
    """Value of `token/<id>`. The secret itself is stored nowhere."""

    id: Annotated[str, Field(pattern=_ID_PATTERN)]
    name: Name = ""
    """What people call it."""
    role: Role
    user: Name = ""
    """Whose data the role `user` may see."""
    org: Name = ""
    """Confines any role to the data of one org; empty for the whole company."""
    kind: TokenKind = TokenKind.API
    hash: Annotated[str, Field(pattern=_HASH_PATTERN)]
    """SHA-256 of the secret's text, in hexadecimal digits."""
    created_at: InstantText
    expires_at: InstantText | None = None
    """First instant at which it no longer holds; null when it holds until it is removed."""
    parent: Annotated[str, Field(pattern=r"^([0-9a-f]{16})?$")] = ""
    """Id of the token that a session was begun with, and ends with; empty for all others."""

    def holds_at(self, instant_ms: int) -> bool:
        """Whether it has not expired at this time."""
        return self.expires_at is None or instant_ms < parse_instant(self.expires_at)

    def matches(self, secret: str) -> bool:
        """Whether this is its secret; takes as long for a wrong one as for the right one."""
        return hmac.compare_digest(self.hash, hash_secret(secret))


class TokenText(NamedTuple):
    """The two parts of a token's text `tg_<id>_<secret>`."""

    id: str
    secret: str

    def __str__(self) -> str:
        return f"tg_{self.id}_{self.secret}"


def new_token_text() -> TokenText:
    """A new id and a new secret of 256 random bits."""
    return TokenText(secrets.token_hex(8), secrets.token_urlsafe(_SECRET_BYTES))


def parse_token_text(text: str) -> TokenText | None:
    """The parts of a token's text; None when it is none."""
    found = _TEXT.fullmatch(text)
    return TokenText(*found.groups()) if found is not None else None


def hash_secret(secret: str) -> str:
    """What a record keeps of a secret: SHA-256 of its UTF-8 text, in hexadecimal digits."""
    return sha256(secret.encode()).hexdigest()


def token_record(
    text: TokenText,
    role: Role,
    created_ms: int,
    *,
    kind: TokenKind = TokenKind.API,
    lifetime_ms: int | None = None,
    name: str = "",
    user: str = "",
    org: str = "",
    parent: str = "",
) -> TokenRecord:
    """The record of a new token, which holds for `lifetime_ms` or, with None, until it is removed.

    pydantic's ValidationError when a name is too long or has control characters.
    """
    return TokenRecord(
        id=text.id,
        name=name,
        role=role,
        user=user,
        org=org,
        kind=kind,
        hash=hash_secret(text.secret),
        created_at=format_instant(created_ms),
        expires_at=None if lifetime_ms is None else format_instant(created_ms + lifetime_ms),
        parent=parent,
    )
