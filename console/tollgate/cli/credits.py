"""`tollgate credits`: grant credits to a user, and show what they have and were granted."""

import time
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from tollgate.cli.budget_reading import read_book
from tollgate.cli.changes import system_actor, telling_refusals
from tollgate.cli.exits import AnswerIsNoError, UnreachableError, UsageError
from tollgate.cli.options import LIMIT, Actor, AsJson, DataDir, Limit, examples
from tollgate.cli.output import first, print_json, print_line, print_table
from tollgate.cli.services import find_settings
from tollgate.control import ControlStore, grant_records
from tollgate.control import UnreachableError as ControlUnreachableError
from tollgate.domain.balances import balance_now
from tollgate.domain.credits import FreeCredits
from tollgate.runtime.settings import Settings
from tollgate.runtime.topic_reading import partitions_of, read_batches, read_latest
from tollgate.schemas.entries import CreditEntry, decode_entries_topic
from tollgate.schemas.event_time import parse_event_time
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Balance, CreditKind
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.topics import Topic
from tollgate.sdk.recording import new_id

app = App(
    name="credits",
    help="Grant credits to a user, and show what they have and were granted.",
    help_epilogue=examples(
        "tollgate credits grant u-42 100 --kind purchase --id pay-1",
        "tollgate credits show u-42",
        "tollgate credits history u-42 --json",
    ),
)

_SOURCE: Final = "cli"

Kind = Annotated[CreditKind, Parameter(help="Where they come from.")]


@app.command(
    help_epilogue=examples(
        "tollgate credits grant u-42 100 --kind bonus --expires 2027-01-01T00:00:00Z --note 'a contest'",
        "tollgate credits grant u-42 -20 --kind correction",
    )
)
async def grant(
    user: str,
    credits: Annotated[str, Parameter(allow_leading_hyphen=True)],  # noqa: A002 # its name in --help
    /,
    *,
    kind: Kind,
    expires: str | None = None,
    note: str | None = None,
    id: str | None = None,  # noqa: A002 # the contract's option
    actor: Actor = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Grant CREDITS to USER, or take some back with a negative number. The balance has them within a second.

    Parameters
    ----------
    user
        The user's id, as in usage events.
    credits
        How many, such as 100 or -20.5.
    expires
        From this instant on what is left of them cannot be spent, RFC 3339 with offset. Default: never.
    note
        Why; for people and the audit.
    id
        Granted once under this id, however often the command runs. Default: a new one.
    """
    settings, entry_id = find_settings(data_dir), id or new_id()
    data: dict[str, Any] = {"credits": credits, "kind": kind.value, "expires_at": expires, "note": note}
    data = {name: given for name, given in data.items() if given is not None}
    with telling_refusals():
        records = grant_records(
            entry_id,
            user,
            data,
            source=_SOURCE,
            actor=actor or system_actor(),
            now_ms=time.time_ns() // 1_000_000,
        )
        if isinstance(records, Refusal):
            raise UsageError(f"{records.error.removeprefix('data.')}.")
        await partitions_of(settings, Topic.ENTRIES)
        try:
            await ControlStore(settings).grant(records)
        except ControlUnreachableError as error:
            raise UnreachableError(f"{error} Repeat the grant with --id {entry_id}: it is granted once.") from None
    if json:
        print_json({"user": user, "id": entry_id, "source": _SOURCE, **data})
        return
    until = f" until {expires}" if expires else ""
    verb = "taken back from" if credits.startswith("-") else "granted to"
    print_line(f"{credits.removeprefix('-')} credits ({kind.value}) {verb} {user}{until}, as {entry_id}")


@app.command(help_epilogue=examples("tollgate credits show u-42", "tollgate credits show u-42 --json"))
async def show(user: str, /, *, json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show the credits of USER as of now. Exit 1 when nobody granted them any and no plan gives them free ones.

    Parameters
    ----------
    user
        The user's id, as in usage events.
    """
    balance = await read_balance(find_settings(data_dir), user)
    if balance is None:
        raise AnswerIsNoError(f"{user} has no credits: nobody granted them any, and no plan gives them free ones.")
    if json:
        print_json(balance.model_dump(mode="json"))
        return
    print_line(f"available  {balance.available}")
    print_line(f"reserved   {balance.reserved}")
    print_line(f"granted    {balance.granted}")
    print_line(f"burned     {balance.burned}")
    print_line(f"expired    {balance.expired}")
    if balance.free_until is not None:
        print_line(f"free       {balance.free_today} of {balance.free_per_day} today, until {balance.free_until}")
    for bucket in balance.buckets:
        until = f", until {bucket.expires_at}" if bucket.expires_at is not None else ""
        print_line(f"bucket     {bucket.left} of a {bucket.kind.value}{until}")
    print_line(f"as of      {balance.updated_at}")


@app.command(help_epilogue=examples("tollgate credits history u-42", "tollgate credits history u-42 --limit 5 --json"))
async def history(user: str, /, *, limit: Limit = LIMIT, json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show what USER was granted, the newest first, as far back as Kafka keeps entries.

    Parameters
    ----------
    user
        The user's id, as in usage events.
    """
    shown = first(await _grants(find_settings(data_dir), user), limit)
    if json:
        print_json(shown)
        return
    rows = [
        (one["time"], one["credits"], one["kind"], one["expires_at"] or "", one["source"], one["id"], one["note"] or "")
        for one in shown
    ]
    print_table(("TIME", "CREDITS", "KIND", "EXPIRES", "SOURCE", "ID", "NOTE"), rows, right=(1,))


async def read_balance(settings: Settings, user: str) -> Balance | None:
    """The user's balance as of now; None when they have no account and no plan gives them free credits."""
    key = user.encode()
    partitions = [partition_of(key, settings.usage_partitions)]
    latest = await read_latest(settings, Topic.BALANCES, lambda other: other == key, partitions=partitions)
    try:
        found = next((read_record(Balance.model_validate_json, value) for value in latest.values()), None)
    except UnreadableError as error:
        raise UnreachableError(f"the balance of {user[:64]!r} cannot be read: {error}.") from None
    now_ms = time.time_ns() // 1_000_000
    return balance_now(found, user, FreeCredits(*(await read_book(settings)).credits_of(user, now_ms)), now_ms)


async def _grants(settings: Settings, user: str) -> list[dict[str, Any]]:
    """The entries of the user that are credits, the newest first; of an identity the first one, as the worker does."""
    partitions = [partition_of(user.encode(), settings.usage_partitions)]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    async for batch in read_batches(settings, Topic.ENTRIES, partitions=partitions):
        for record in batch:
            entry = decode_entries_topic(record.value, record.headers or ())
            if isinstance(entry, CreditEntry) and entry.subject == user and (entry.source, entry.id) not in found:
                found[entry.source, entry.id] = {
                    "time": format_instant(parse_event_time(entry.time)),
                    "credits": str(entry.data.credits),
                    "kind": entry.data.kind.value,
                    "expires_at": entry.data.expires_at,
                    "source": entry.source,
                    "id": entry.id,
                    "note": entry.data.note,
                }
    return list(reversed(found.values()))
