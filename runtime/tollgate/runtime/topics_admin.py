"""Make a cluster's topics match `topic_specs`, or say where they do not."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from tollgate.runtime.broker_limits import BrokerFinding, broker_findings
from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.runtime.topic_comparison import Action, FoundTopic, TopicOutcome, compare, differing
from tollgate.schemas.topics import TOPIC_SPECS, TopicSpec, topic_specs

# Kafka's number for a configuration that somebody set on the topic itself, as opposed to a default.
_SET_ON_TOPIC = 1

_VISIBLE_SECONDS_MAX = 30
_RETRY_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class TopicsReport:
    """The outcome of every topic, in the order of the specifications, and what of the brokers needs attention."""

    topics: tuple[TopicOutcome, ...]
    dry_run: bool
    brokers: tuple[BrokerFinding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all topics are as specified and no broker stops us; a dry run that would change something is not."""
        done: set[Action] = {"unchanged", "grown"} if self.dry_run else {"unchanged", "grown", "created", "altered"}
        return all(topic.action in done for topic in self.topics) and not any(found.stops for found in self.brokers)

    def named(self, action: Action) -> list[TopicOutcome]:
        """The topics with this outcome."""
        return [topic for topic in self.topics if topic.action == action]


async def apply_topics(
    settings: Settings, *, dry_run: bool = False, specs: Sequence[TopicSpec] | None = None
) -> TopicsReport:
    """Create missing topics and set configurations that differ; partitions are checked, never changed.

    `specs` are `topic_specs` of the settings when they are not given.

    More partitions would move users away from their state. Configurations that neither the specification nor
    `topic_comparison` names are left as they are. What the brokers' own configuration forbids is found as well, and
    never changed. Returns once every created topic can be read and written. Raises aiokafka's KafkaError when the
    cluster cannot be reached or refuses.
    """
    if specs is None:
        specs = topic_specs(settings.usage_partitions)
    wanted = {settings.topic(spec.topic): spec for spec in specs}
    async with admin_client(settings) as admin:
        found = await _found(admin, list(wanted))
        outcomes = {name: compare(name, spec, found.get(name)) for name, spec in wanted.items()}
        if not dry_run:
            created = {name: wanted[name] for name, outcome in outcomes.items() if outcome.action == "created"}
            await _create(admin, created, settings.kafka_replication_factor)
            await _wait_until_led(settings, admin, {name: spec.partitions for name, spec in created.items()})
            # The cluster's defaults, which a new topic has, may not be what we take for granted.
            found |= await _found(admin, list(created))
            for name, spec in wanted.items():
                if name in found and (changes := differing(spec, found[name])):
                    await _alter(admin, name, _set_on_topic(found[name]) | changes)
        brokers = await broker_findings(admin, settings, specs, set(found))
    return TopicsReport(tuple(outcomes.values()), dry_run, brokers)


async def delete_topics(settings: Settings, specs: Sequence[TopicSpec] = TOPIC_SPECS) -> None:
    """Delete this installation's topics with everything in them; absent ones are ignored."""
    async with admin_client(settings) as admin:
        present = await _found(admin, [settings.topic(spec.topic) for spec in specs])
        if present:
            await admin.delete_topics(list(present))


@asynccontextmanager
async def admin_client(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected client, closed at the end of the block."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _found(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, FoundTopic]:
    """Those of the topics that exist."""
    described = await admin.describe_topics(names) if names else []
    present = {topic["topic"]: topic["partitions"] for topic in described if topic["error_code"] == 0}
    configs = await _configs(admin, list(present))
    return {
        name: FoundTopic(
            len(partitions), min((len(p["replicas"]) for p in partitions), default=0), configs.get(name, {})
        )
        for name, partitions in present.items()
    }


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, tuple[str, int]]]:
    """Per topic and configuration name: its value and where the value comes from.

    The topics exist; a broker that has not heard of one yet is asked again.
    """
    found: dict[str, dict[str, tuple[str, int]]] = {}
    deadline = time.monotonic() + _VISIBLE_SECONDS_MAX
    while names:
        unheard_of = []
        for response in await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        ):
            for code, message, _kind, name, entries in response.resources:
                if code == UnknownTopicOrPartitionError.errno and time.monotonic() < deadline:
                    unheard_of.append(name)
                    continue
                _raise_for(code, f"describe {name}", message)
                found[name] = {entry[0]: (entry[1], entry[3]) for entry in entries}
        names = unheard_of
        if names:
            await asyncio.sleep(_RETRY_SECONDS)
    return found


def _set_on_topic(topic: FoundTopic) -> dict[str, str]:
    return {name: value for name, (value, source) in topic.configs.items() if source == _SET_ON_TOPIC}


async def _create(admin: AIOKafkaAdminClient, specs: dict[str, TopicSpec], replication_factor: int) -> None:
    if not specs:
        return
    response = await admin.create_topics(
        [
            NewTopic(name, spec.partitions, replication_factor, topic_configs=dict(spec.configs))
            for name, spec in specs.items()
        ]
    )
    for name, code, *rest in response.topic_errors:
        # Another process that applies the same list may be ahead by a moment; the next run compares what it made.
        if code != TopicAlreadyExistsError.errno:
            _raise_for(code, f"create {name}", rest[0] if rest else None)


async def _alter(admin: AIOKafkaAdminClient, name: str, configs: dict[str, str]) -> None:
    # The request replaces all configurations set on the topic, so the caller passes the ones to keep as well.
    for response in await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs)]):
        for code, message, *_ in response.resources:
            _raise_for(code, f"alter {name}", message)


async def _wait_until_led(settings: Settings, admin: AIOKafkaAdminClient, partitions: dict[str, int]) -> None:
    """Until each partition has a leader, and that broker knows that it leads, which it learns a moment later.

    Before, clients are refused and log an error for each partition, although they only have to ask again.
    """
    if not partitions:
        return
    try:
        async with asyncio.timeout(_VISIBLE_SECONDS_MAX):
            await _have_leaders(admin, partitions)
            await _leaders_answer(settings, partitions)
    except TimeoutError:
        raise KafkaConnectionError(
            f"topics have no leader after {_VISIBLE_SECONDS_MAX} s: {sorted(partitions)}"
        ) from None


async def _have_leaders(admin: AIOKafkaAdminClient, partitions: dict[str, int]) -> None:
    while True:
        described: list[dict[str, Any]] = await admin.describe_topics(list(partitions))
        led = {
            topic["topic"]: sum(1 for partition in topic["partitions"] if partition["leader"] >= 0)
            for topic in described
            if topic["error_code"] == 0
        }
        if led == partitions:
            return
        await asyncio.sleep(_RETRY_SECONDS)


async def _leaders_answer(settings: Settings, partitions: dict[str, int]) -> None:
    # The client asks again, without a word, for as long as a leader refuses, and once for each topic that is new to it.
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False, retry_backoff_ms=5)
    try:
        await consumer.start()
        await consumer.end_offsets(
            [TopicPartition(name, number) for name, count in partitions.items() for number in range(count)]
        )
    finally:
        await consumer.stop()


def _raise_for(code: int, attempt: str, message: str | None) -> None:
    if code:
        error: type[KafkaError] = for_code(code)
        raise error(f"Cannot {attempt}: {message or error.description}")
