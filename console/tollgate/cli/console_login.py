"""`tollgate console login`: a link that logs in once."""

from typing import Final, Literal
from urllib.parse import quote

from tollgate.cli.changes import system_actor
from tollgate.cli.options import Actor, AsJson, DataDir
from tollgate.cli.output import print_json, print_line, say
from tollgate.cli.services import console_address, find_settings
from tollgate.cli.tokens import new_token, write_token
from tollgate.runtime.settings import Settings
from tollgate.schemas.tokens import Role, TokenKind

LOGIN_MINUTES: Final = 10


async def login(
    *,
    role: Literal["viewer", "analyst", "admin"] = "admin",
    actor: Actor = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Print a link that logs in to the console, once and within 10 minutes.

    Whoever opens it acts under the name of ACTOR.

    Parameters
    ----------
    role
        What the session may do.
    """
    url, expires_at = await login_link(find_settings(data_dir), Role(role), actor or system_actor())
    if json:
        print_json({"url": url, "role": role, "expires_at": expires_at})
    else:
        print_line(url)
        say(f"It logs in once, as {role}, within {LOGIN_MINUTES} minutes.")


async def login_link(settings: Settings, role: Role, who: str) -> tuple[str, str | None]:
    """A new link, and when it expires. UnreachableError."""
    lifetime_ms = LOGIN_MINUTES * 60_000
    text, record = new_token(role, kind=TokenKind.LOGIN, lifetime_ms=lifetime_ms, name=who)
    await write_token(settings, record, who, "console login")
    return f"{console_address(settings)}/login?code={quote(str(text), safe='')}", record.expires_at
