"""Reaching Kafka within a bounded time, and saying in one sentence why not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
    UnknownTopicOrPartitionError,
)

from tollgate.runtime.errors import KafkaUnreachableError
from tollgate.runtime.settings import Settings

# A person waits for an answer; a broker that is there answers within milliseconds.
REACH_SECONDS_MAX: Final = 10.0


@asynccontextmanager
async def reaching_kafka(settings: Settings) -> AsyncIterator[None]:
    """Turn what a client raises when Kafka is away, refuses it or lacks a topic into one KafkaUnreachableError."""
    address = settings.kafka_bootstrap_servers
    try:
        yield
    except UnknownTopicOrPartitionError:
        raise KafkaUnreachableError(
            f"Kafka at {address} lacks a topic of Tollgate: create them with `tollgate topics apply`."
        ) from None
    except (KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, RequestTimedOutError, OSError, TimeoutError):
        raise unreachable_kafka(settings) from None
    except KafkaError as error:
        raise KafkaUnreachableError(
            f"Kafka at {address} refused the request: {str(error) or type(error).__name__}."
        ) from None


def unreachable_kafka(settings: Settings) -> KafkaUnreachableError:
    """The error for a broker that does not answer."""
    return KafkaUnreachableError(
        f"Kafka at {settings.kafka_bootstrap_servers} cannot be reached: start the stack with `tollgate up`, "
        "or set TOLLGATE_KAFKA_BOOTSTRAP_SERVERS."
    )
