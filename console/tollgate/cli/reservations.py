"""`tollgate reserve` and `tollgate release`: one reservation by hand."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from cyclopts import Parameter

from tollgate.cli.exits import AnswerIsNoError, Exit, UnreachableError, UsageError
from tollgate.cli.options import AsJson, DataDir
from tollgate.cli.output import print_json, print_line
from tollgate.cli.services import find_settings, reaching_kafka
from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.runtime.topic_reading import partitions_of, read_batches
from tollgate.schemas.entries import TTL_SECONDS_MAX
from tollgate.schemas.outputs import Decision
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.shown_text import shell_command
from tollgate.schemas.topics import Topic
from tollgate.sdk import InvalidEventError, UnavailableError
from tollgate.sdk.entries import encode_release, encode_reservation
from tollgate.sdk.publisher import UsagePublisher
from tollgate.sdk.recording import new_id
from tollgate.sdk.reserving import TTL_SECONDS, Reserving

# A worker that is recovering takes longer than a person waits.
DECISION_SECONDS_MAX: Final = 10.0
_SOURCE: Final = "cli"

Name = Annotated[str | None, Parameter(help="A name of the call, as its usage event will have it.")]


async def reserve(
    user: str,
    *,
    usd: str | None = None,
    credits: str | None = None,  # noqa: A002 # the contract's name
    ttl: int = TTL_SECONDS,
    org: Name = None,
    service: Name = None,
    provider: Name = None,
    model: Name = None,
    agent: Name = None,
    campaign: Name = None,
    feature: Name = None,
    product: Name = None,
    source: str = _SOURCE,
    id: str | None = None,  # noqa: A002 # reads well on the command line
    json: AsJson = False,
    data_dir: DataDir = None,
) -> Exit:
    """Set money or credits of a user aside for a call, and print the decision. Exit 1 when it is denied.

    What is set aside is free again when a usage event with its id as `reservation_id` settles it, with `tollgate
    release`, or at the end of its time to live.

    Parameters
    ----------
    user
        The id of the user.
    usd
        Dollars to set aside, for example 0.10.
    credits
        Credits to set aside.
    ttl
        Seconds after which the reservation ends by itself, 1 to 3600.
    source
        The service that reserves; its usage events settle the reservation.
    id
        The id of the reservation. The same id again, while it lives, gives the same decision. Default: a new one.
    """
    asked = {"amount_usd": usd, "credits": credits, "ttl_seconds": ttl}
    names = {
        "org": org,
        "service": service,
        "provider": provider,
        "model": model,
        "agent": agent,
        "campaign": campaign,
        "feature": feature,
        "product": product,
    }
    settings = find_settings(data_dir)
    reservation_id = id or new_id()
    async with _told_in_words(settings):
        encode_reservation(source, reservation_id, user, {**asked, **names})
    await partitions_of(settings, Topic.DECISIONS)
    options = client_options(settings)
    reserving = Reserving(
        options.pop("bootstrap_servers"), source=source, topic_prefix=settings.topic_prefix, **options
    )
    async with _told_in_words(settings):
        try:
            await reserving.start()
            decision = await _decision(reserving, reservation_id, user, {**asked, **names})
        finally:
            await reserving.stop()
    if json:
        print_json(decision.model_dump(mode="json"))
    else:
        _tell(decision)
    return Exit.OK if decision.granted else Exit.NO


async def release(
    reservation: str,
    *,
    user: str | None = None,
    source: str | None = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """End a reservation whose call is not made. Once it is settled, released or expired this changes nothing.

    Exit 1 when no reservation with this id was granted within the last two hours; with --user nobody looks for it.

    Parameters
    ----------
    reservation
        The id of the reservation.
    user
        The user it is of. Default: as its decision says.
    source
        The service that reserved. Default: as its decision says; with --user, cli.
    """
    settings = find_settings(data_dir)
    if user is None:
        found = await _granted(settings, reservation, source)
        user, source = found.user, found.source
    source = source or _SOURCE
    await partitions_of(settings, Topic.USAGE)
    options = client_options(settings)
    async with _told_in_words(settings):
        value = encode_release(source, reservation, user)
        async with UsagePublisher(
            options.pop("bootstrap_servers"), source=source, topic_prefix=settings.topic_prefix, **options
        ) as publisher:
            await publisher.send(user, value)
    if json:
        print_json({"reservation_id": reservation, "source": source, "user": user})
    else:
        print_line(f"released {reservation} of {user}")


async def _decision(reserving: Reserving, reservation_id: str, user: str, data: Mapping[str, Any]) -> Decision:
    try:
        async with asyncio.timeout(DECISION_SECONDS_MAX):
            return await reserving.ask(reservation_id, user, data)
    except TimeoutError:
        await reserving.release(user, reservation_id)
        raise UnreachableError(
            f"no worker has decided on the reservation within {DECISION_SECONDS_MAX:g} s, so it is released again. "
            "See `tollgate status`."
        ) from None


def _tell(decision: Decision) -> None:
    asked = [f"{decision.amount_usd} usd"] if decision.amount_usd != "0" else []
    if decision.credits != "0":
        asked.append(f"{decision.credits} credits")
    what = " and ".join(asked) or "nothing"
    if decision.granted:
        print_line(f"granted: {what} of {decision.user} until {decision.expires_at}, as {decision.reservation_id}")
        print_line(f"end it before with: {shell_command('tollgate', 'release', decision.reservation_id)}")
        return
    print_line(f"denied ({decision.http_status} {decision.error}): {decision.message or 'no reason is told'}")
    if decision.scope:
        numbers = ("limit", decision.limit), ("spent", decision.spent), ("reserved", decision.reserved)
        told = ", ".join(f"{name} {number}" for name, number in (*numbers, ("left", decision.available)) if number)
        print_line(f"{decision.scope}: {told}" if told else decision.scope)


async def _granted(settings: Settings, reservation_id: str, source: str | None) -> Decision:
    """The decision that granted it. AnswerIsNoError when there is none, UsageError when several services have one."""
    # None lives longer, however long before its decision was asked for.
    since_ms = time.time_ns() // 1_000_000 - 2 * TTL_SECONDS_MAX * 1000
    found: dict[tuple[str, str], Decision] = {}
    hint = reservation_id.encode()
    async for batch in read_batches(settings, Topic.DECISIONS, since_ms=since_ms):
        for record in batch:
            # An id with characters that JSON escapes is looked for in every record.
            if hint.isalnum() and hint not in (record.value or b""):
                continue
            try:
                decision = read_record(Decision.model_validate_json, record.value)
            except UnreadableError:
                continue
            if decision.granted and decision.reservation_id == reservation_id and source in (None, decision.source):
                found[decision.source, decision.user] = decision
    if not found:
        raise AnswerIsNoError(f"no reservation {reservation_id!r} was granted within the last two hours.")
    if len(found) > 1:
        several = ", ".join(f"--user {user!r} --source {name!r}" for name, user in sorted(found))
        raise UsageError(f"several reservations have this id; say which: {several}.")
    return next(iter(found.values()))


@asynccontextmanager
async def _told_in_words(settings: Settings) -> AsyncIterator[None]:
    """What the SDK raises, as one sentence and its exit status."""
    try:
        async with reaching_kafka(settings):
            yield
    except InvalidEventError as error:
        raise UsageError(f"{error.refusal.error.removeprefix('data.')}.") from None
    except UnavailableError as error:
        raise UnreachableError(f"{error}.") from None
