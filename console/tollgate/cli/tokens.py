"""`tollgate token`: who may use the REST API."""

import re
import time
from typing import Annotated, Any, Final

from cyclopts import App, Parameter
from pydantic import ValidationError

from tollgate.cli.changes import change, open_control, system_actor
from tollgate.cli.exits import AnswerIsNoError, UsageError
from tollgate.cli.options import LIMIT, Actor, AsJson, DataDir, Limit, Reason, examples
from tollgate.cli.output import first, print_json, print_line, print_table, say
from tollgate.cli.services import find_settings
from tollgate.control import NoRecordError
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import describe_faults
from tollgate.schemas.tokens import (
    TOKEN_KEY_PREFIX,
    Role,
    TokenKind,
    TokenRecord,
    TokenText,
    new_token_text,
    token_record,
)

_UNITS_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LIFETIME: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")

app = App(
    name="token",
    help_epilogue=examples(
        "tollgate token create --role service --name chat-api",
        "tollgate token list",
        "tollgate token revoke 0123456789abcdef",
    ),
)


@app.command(
    help_epilogue=examples(
        "tollgate token create --role service --name chat-api",
        "tollgate token create --role viewer --name grafana --expires 90d --json",
        "tollgate token create --role user --user u-42 --expires 1h",
    )
)
async def create(
    *,
    role: Role,
    user: str = "",
    org: str = "",
    name: str = "",
    expires: str | None = None,
    reason: Reason = "",
    actor: Actor = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Create a token for the REST API and print it. It is shown this once: Tollgate keeps a hash of it.

    Programs send it as `Authorization: Bearer TOKEN`.

    Parameters
    ----------
    role
        service: report usage and ask for decisions. user: read one user's own data. viewer: read sums, flags and
        alerts. analyst: single events and reports as well. admin: change budgets, prices, settings and tokens.
    user
        The user whose data the role `user` may read.
    org
        Confine the token to the data of this org. Default: the whole company.
    name
        What people call it, for example the program that uses it.
    expires
        How long it holds: a number and s, m, h or d, such as 30d. Default: until it is revoked.
    """
    if (role is Role.USER) != bool(user):
        raise UsageError("give --user together with --role user, and only then.")
    lifetime_ms = None if expires is None else _milliseconds(expires)
    text, record = new_token(role, lifetime_ms=lifetime_ms, user=user, org=org, name=name)
    await write_token(find_settings(data_dir), record, actor or system_actor(), reason)
    if json:
        print_json({"id": record.id, "token": str(text), "role": record.role.value})
    else:
        print_line(str(text))
        say("This is shown once. Revoke it with `tollgate token revoke " + record.id + "`.")


@app.command(name="list", help_epilogue=examples("tollgate token list", "tollgate token list --all --json"))
async def list_tokens(
    *,
    all: Annotated[bool, Parameter(name="--all", negative="")] = False,  # noqa: A002 # reads well on the command line
    limit: Limit = LIMIT,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List tokens, the latest first; never their secrets.

    Parameters
    ----------
    all
        Also list sessions of people who are logged in, and login links that were not used yet.
    """
    async with open_control(find_settings(data_dir)) as store:
        held = store.records(TOKEN_KEY_PREFIX)
        for key in store.unreadable(TOKEN_KEY_PREFIX):
            say(f"the record {key!r} is not valid and is left out.")
    found = [TokenRecord.model_validate(one.value) for one in held]
    wanted = [record for record in found if all or record.kind is TokenKind.API]
    records = first(sorted(wanted, key=lambda record: (record.created_at, record.id), reverse=True), limit)
    now_ms = time.time_ns() // 1_000_000
    if json:
        print_json([_as_json(record, now_ms) for record in records])
    elif records:
        columns = ("ID", "NAME", "ROLE", "USER", "ORG", "KIND", "CREATED", "BY", "EXPIRES")
        print_table(columns, [_row(record, now_ms) for record in records])
    else:
        say("There is no token yet: create one with `tollgate token create --role service --name NAME`.")


@app.command(help_epilogue=examples("tollgate token revoke 0123456789abcdef --reason 'leaked'"))
async def revoke(
    id: str,  # noqa: A002 # its name in --help
    *,
    reason: Reason = "",
    actor: Actor = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Revoke a token, end a session or take back a login link, by its id. Exit 1 when the id is unknown."""
    async with open_control(find_settings(data_dir)) as store:
        try:
            await store.change(f"{TOKEN_KEY_PREFIX}{id}", None, actor=actor or system_actor(), reason=reason)
        except NoRecordError:
            raise AnswerIsNoError(f"there is no token {id!r}: see `tollgate token list`.") from None
    if json:
        print_json({"revoked": id})
    else:
        print_line(f"revoked {id}")


def new_token(role: Role, **given: Any) -> tuple[TokenText, TokenRecord]:
    """A new token and its record, made now. UsageError for a name that is too long or has control characters."""
    text = new_token_text()
    try:
        return text, token_record(text, role, time.time_ns() // 1_000_000, **given)
    except ValidationError as error:
        raise UsageError(f"{describe_faults(error)}.") from None


async def write_token(settings: Settings, record: TokenRecord, actor: str, reason: str) -> None:
    """Make the token hold everywhere. UnreachableError."""
    value = record.model_dump(mode="json")
    await change(settings, f"{TOKEN_KEY_PREFIX}{record.id}", value, actor=actor, reason=reason, expect_version=0)


def _milliseconds(text: str) -> int:
    found = _LIFETIME.fullmatch(text)
    if found is None:
        raise UsageError(f"--expires {text!r} must be a number and s, m, h or d, such as 30d.")
    return int(found[1]) * _UNITS_MS[found[2]]


def _as_json(record: TokenRecord, now_ms: int) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude={"hash"}) | {"expired": not record.holds_at(now_ms)}


def _row(record: TokenRecord, now_ms: int) -> tuple[str, ...]:
    expires = record.expires_at or "never"
    if not record.holds_at(now_ms):
        expires += " (expired)"
    r = record
    return (r.id, r.name, r.role.value, r.user, r.org, r.kind.value, r.created_at, r.actor, expires)
