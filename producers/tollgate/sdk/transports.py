"""The two ways of a client: straight to Kafka, or by the console's API. Each is imported when it is used."""

from typing import TYPE_CHECKING

from tollgate.sdk.sending import Sender
from tollgate.sdk.settings import Settings

if TYPE_CHECKING:
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

    if settings.kafka is None:
        from tollgate.sdk.http_api import HttpApi
        from tollgate.sdk.http_knowledge import HttpKnowledge
        from tollgate.sdk.http_reserving import HttpReserving

        assert settings.url is not None
        by_http = HttpKnowledge(HttpApi(settings.url, settings.token), knowledge)
        return Limits(client, knowledge, by_http, HttpReserving(HttpApi(settings.url, settings.token), settings.source))
    from tollgate.sdk.kafka_knowledge import KafkaKnowledge
    from tollgate.sdk.reserving import Reserving

    prefix, options = settings.topic_prefix, settings.kafka_options
    feed = KafkaKnowledge(settings.kafka, knowledge, topic_prefix=prefix, **options)
    owner = Reserving(settings.kafka, source=settings.source, topic_prefix=prefix, **options)
    return Limits(client, knowledge, feed, owner)
