"""Three small services as a product would have them: each asks before a call, and records what the call used."""

import asyncio
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tollgate.demo.history import OVERSPENDER, USERS, org_of, usage_of
from tollgate.demo.offers import OFFERS, Offer
from tollgate.demo.outputs import until
from tollgate.schemas.outputs import Flag
from tollgate.sdk import Decision, FlagReader, UsagePublisher

SERVICES: Final = ("chat-api", "image-studio", "video-agent")
# Of all live calls; the video agent's cost the most, so they are the fewest.
_SHARES: Final = {"chat-api": 0.85, "image-studio": 0.12, "video-agent": 0.03}
_TICK_SECONDS: Final = 0.05
# A user's video agent works on its own: it asks for the next clip as soon as one is done.
_CLIP_SECONDS: Final = 0.6
_ACKNOWLEDGED_SECONDS_MAX: Final = 2
_OTHERS: Final = tuple(user for user in USERS if user != OVERSPENDER)


@dataclass(slots=True)
class Tally:
    """What happened to calls so far."""

    made: int = 0
    refused: int = 0


class Service:
    """One service: its own connection for usage and its own copy of the flags."""

    def __init__(self, name: str, usage: UsagePublisher, flags: FlagReader, seed: str) -> None:
        self.name = name
        self.flags = flags
        self.tally = Tally()
        self._usage = usage
        self._offers = [offer for offer in OFFERS if offer.service == name]
        self._weights = [offer.weight for offer in self._offers]
        self._dice = random.Random(f"{seed} {name}")  # noqa: S311 # plausible, not secret

    def ask(self, user: str, offer: Offer) -> Decision:
        """May this call go ahead? Answered from memory."""
        return self.flags.check(
            user=user,
            org=org_of(user),
            service=self.name,
            provider=offer.provider,
            model=offer.model,
            feature=offer.feature,
            product=offer.product,
        )

    async def call(self, user: str, offer: Offer, usage: dict[str, int | str]) -> Decision:
        """One call of a user: refused, or made and recorded. Raises UnavailableError when Kafka does not confirm."""
        decision = self.ask(user, offer)
        if not decision.allowed:
            self.tally.refused += 1
            return decision
        await self._usage.record(
            user=user,
            usage=usage,
            org=org_of(user),
            latency_ms=self._dice.randint(*offer.latency_ms),
            **offer.data(),
        )
        self.tally.made += 1
        return decision

    async def serve(self, calls_per_second: float) -> None:
        """Calls of all users but the overspender at this pace, until cancelled."""
        started, sent = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - started) * calls_per_second * _SHARES[self.name]) - sent
            if due:
                await asyncio.gather(*(self._any_call() for _ in range(due)))
                sent += due
            await asyncio.sleep(_TICK_SECONDS)

    async def _any_call(self) -> None:
        (offer,) = self._dice.choices(self._offers, self._weights)
        await self.call(self._dice.choice(_OTHERS), offer, usage_of(self._dice, offer))


@dataclass(frozen=True, slots=True)
class Crossing:
    """The flag that refused the user's calls, and how long after the publish of the call that crossed the limit it
    was seen in the service; None when that call is not known."""

    flag: Flag
    after_ms: int | None


class Clips:
    """The overspender's video agent: clip after clip, each at the same cost, whatever they add up to."""

    OFFER: Final = next(offer for offer in OFFERS if offer.provider == "runway")

    def __init__(self, service: Service, seconds: int) -> None:
        self.tally = Tally()
        self._service = service
        self._seconds = seconds
        self._published_at: list[float] = []

    async def go_on(self) -> None:
        """Ask for clips until cancelled; a refused one is asked for again."""
        while True:
            usage: dict[str, int | str] = {"video_seconds": self._seconds}
            asked_at = time.perf_counter()
            decision = await self._service.call(OVERSPENDER, self.OFFER, usage)
            if decision.allowed:
                self._published_at.append(asked_at)
                self.tally.made += 1
            else:
                self.tally.refused += 1
            await asyncio.sleep(_CLIP_SECONDS)

    async def watch_block(self, clip_picousd: int, spent_picousd: int, limit_picousd: int) -> Crossing:
        """Wait for the flag that blocks the user. `spent_picousd` is what they had spent before the first clip."""
        crossing = -(-(limit_picousd - spent_picousd) // clip_picousd) - 1
        async for flag in self._service.flags.changes():
            seen_at = time.perf_counter()
            if flag.scope == f"user/{OVERSPENDER}" and flag.blocked:
                # The crossing call may not have returned yet: the flag can be as fast as the acknowledgement.
                await until(lambda: crossing < len(self._published_at), _ACKNOWLEDGED_SECONDS_MAX)
                known = 0 <= crossing < len(self._published_at)
                after_ms = round((seen_at - self._published_at[crossing]) * 1000) if known else None
                return Crossing(flag, after_ms)
        raise AssertionError("changes never end by themselves")


def refused_others(services: Iterable[Service], clips: Clips) -> int:
    """Calls that were refused to anybody but the overspender."""
    return sum(service.tally.refused for service in services) - clips.tally.refused
