"""The two ways of a client: straight to Kafka, or by the console's API. Each is imported when it is used."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tollgate.sdk.importing import in_a_thread
from tollgate.sdk.sending import Sender
from tollgate.sdk.settings import Settings

if TYPE_CHECKING:
    from tollgate.schemas.outputs import Decision
    from tollgate.sdk.asking import Feed, Owner
    from tollgate.sdk.knowledge import Knowledge
    from tollgate.sdk.limits import Client, Limits


def make_sender(settings: Settings) -> Sender:
    """Where recorded events go."""
    if settings.kafka is None:
        from tollgate.sdk.http_sender import HttpSender

        assert settings.url is not None
        return HttpSender(settings.url, settings.token)
    from tollgate.sdk.kafka_sender import KafkaSender

    return KafkaSender(settings.kafka, settings.topic_prefix, settings.kafka_options)


def make_knowledge(settings: Settings) -> "Knowledge":
    """What limits are kept in."""
    from tollgate.sdk.knowledge import Knowledge

    return Knowledge(when_unknown=settings.when_unknown, knowledge_seconds_max=settings.knowledge_seconds_max)


def make_limits(settings: Settings, client: "Client", knowledge: "Knowledge") -> "Limits":
    """Where limits come from, and who decides on reservations."""
    from tollgate.sdk.limits import Limits

    return Limits(
        client,
        knowledge,
        LateFeed(lambda: _make_feed(settings, knowledge)),
        LateOwner(lambda: _make_owner(settings)),
    )


class LateFeed:
    """A `Feed` whose modules are imported when it runs."""

    def __init__(self, make: Callable[[], "Feed"]) -> None:
        self._make = make

    async def run(self) -> None:
        """As `Feed.run`."""
        feed = await in_a_thread(self._make)
        await feed.run()


class LateOwner:
    """An `Owner` whose modules are imported when it is started."""

    def __init__(self, make: Callable[[], "Owner"]) -> None:
        self._make = make
        self._owner: Owner | None = None

    async def start(self) -> None:
        """As `Owner.start`."""
        if self._owner is None:
            self._owner = await in_a_thread(self._make)
        await self._owner.start()

    async def stop(self) -> None:
        """As `Owner.stop`."""
        if self._owner is not None:
            await self._owner.stop()

    async def ask(self, reservation_id: str, user: str, data: Mapping[str, Any]) -> "Decision":
        """As `Owner.ask`. TypeError before `start`."""
        if self._owner is None:
            raise TypeError("not started")
        return await self._owner.ask(reservation_id, user, data)


def _make_feed(settings: Settings, knowledge: "Knowledge") -> "Feed":
    if settings.kafka is not None:
        from tollgate.sdk.kafka_knowledge import KafkaKnowledge

        return KafkaKnowledge(settings.kafka, knowledge, topic_prefix=settings.topic_prefix, **settings.kafka_options)
    from tollgate.sdk.http_api import HttpApi
    from tollgate.sdk.http_knowledge import HttpKnowledge

    assert settings.url is not None
    return HttpKnowledge(HttpApi(settings.url, settings.token), knowledge)


def _make_owner(settings: Settings) -> "Owner":
    if settings.kafka is not None:
        from tollgate.sdk.reserving import Reserving

        prefix, options = settings.topic_prefix, settings.kafka_options
        return Reserving(settings.kafka, source=settings.source, topic_prefix=prefix, **options)
    from tollgate.sdk.http_api import HttpApi
    from tollgate.sdk.http_reserving import HttpReserving

    assert settings.url is not None
    return HttpReserving(HttpApi(settings.url, settings.token), settings.source)
