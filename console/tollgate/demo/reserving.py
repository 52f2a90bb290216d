"""Calls that must not pass a limit: each sets aside what it may cost before it runs, and settles what it did cost."""

import asyncio
from dataclasses import dataclass
from typing import Final

from tollgate.demo.offers import OFFERS, Offer
from tollgate.sdk import BlockedError, FlagReader, Reservation, UnavailableError

VIDEO: Final = next(offer for offer in OFFERS if offer.provider == "luma")
CLIP: Final = next(offer for offer in OFFERS if offer.provider == "runway")


@dataclass(frozen=True, slots=True)
class Work:
    """What each call of a user sets aside, in dollars and credits, and what it uses then."""

    offer: Offer
    usage: dict[str, int | str]
    usd: str
    credits: str | None = None

    def reserve(self, flags: FlagReader, user: str) -> Reservation:
        """One reservation for one call. The reader must have been opened with a `source`."""
        offer = self.offer
        return flags.reserve(
            user=user,
            usd=self.usd,
            credits=self.credits,
            service=offer.service,
            provider=offer.provider,
            model=offer.model,
            feature=offer.feature,
            product=offer.product,
        )

    async def make(self, held: Reservation) -> None:
        """The call itself, for which something is set aside. Raises UnavailableError as the SDK does."""
        await held.settle(usage=self.usage, **self.offer.data())


async def one_after_another(flags: FlagReader, user: str, work: Work, calls: int) -> int:
    """Make so many calls, each when the one before is settled, and return how many were granted.

    Raises UnavailableError when Kafka or a decision does not come.
    """
    granted = 0
    for _ in range(calls):
        try:
            async with work.reserve(flags, user) as held:
                _decided(held)
                await work.make(held)
                granted += 1
        except BlockedError:
            break
    return granted


async def all_at_once(flags: FlagReader, user: str, work: Work, calls: int) -> list[BlockedError]:
    """Reserve for so many calls at the same time, and make those that are granted once all are decided.

    Returns why the others were denied. Raises an ExceptionGroup of UnavailableError as above.
    """
    undecided = calls
    all_decided = asyncio.Event()
    denied: list[BlockedError] = []

    def count() -> None:
        nonlocal undecided
        undecided -= 1
        if not undecided:
            all_decided.set()

    async def call() -> None:
        try:
            async with work.reserve(flags, user) as held:
                _decided(held)
                count()
                await all_decided.wait()
                await work.make(held)
        except BlockedError as error:
            denied.append(error)
            count()

    async with asyncio.TaskGroup() as group:
        for _ in range(calls):
            group.create_task(call())
    return denied


async def why_denied(
    flags: FlagReader,
    user: str,
    *,
    usd: str | None = None,
    credits: str | None = None,  # noqa: A002 # the SDK's name
) -> BlockedError | None:
    """Ask for so much, and give it back when it is granted; None then."""
    try:
        async with flags.reserve(user=user, usd=usd, credits=credits) as held:
            _decided(held)
    except BlockedError as error:
        return error
    return None


def _decided(held: Reservation) -> None:
    if held.decision is None:
        raise UnavailableError("no worker has decided on a reservation")
