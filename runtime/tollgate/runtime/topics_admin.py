"""Make a cluster's topics match `topic_specs`, or say where they do not."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import TOPIC_SPECS, TopicSpec, topic_specs

Action = Literal["created", "altered", "unchanged", "mismatch"]

# Kafka's number for a configuration that somebody set on the topic itself, as opposed to a default.
_SET_ON_TOPIC = 1

_VISIBLE_SECONDS_MAX = 30


@dataclass(frozen=True, slots=True)
class TopicOutcome:
    """One topic: what was (or in a dry run would be) done, and why. `mismatch`: only a person can correct it."""

    topic: str
    action: Action
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TopicsReport:
    """The outcome of every topic, in the order of the specifications."""

    topics: tuple[TopicOutcome, ...]
    dry_run: bool

    @property
    def ok(self) -> bool:
        """Whether all topics are as specified; a dry run that would change something is not."""
        done: set[Action] = {"unchanged"} if self.dry_run else {"unchanged", "created", "altered"}
        return all(topic.action in done for topic in self.topics)


async def apply_topics(
    settings: Settings, *, dry_run: bool = False, specs: Sequence[TopicSpec] | None = None
) -> TopicsReport:
    """Create missing topics and set configurations that differ; partitions are checked, never changed.

    `specs` are `topic_specs` of the settings when they are not given.

    More partitions would move users away from their state. Configurations that the specification does not name are
    left as they are. Returns once every created topic can be written to. Raises aiokafka's KafkaError when the cluster
    cannot be reached or refuses.
    """
    if specs is None:
        specs = topic_specs(settings.usage_partitions)
    async with _admin(settings) as admin:
        durable = _durable(settings.kafka_replication_factor)
        wanted = {settings.topic(spec.topic): replace(spec, configs=spec.configs | durable) for spec in specs}
        partitions = await _partition_counts(admin, list(wanted))
        present = [name for name in wanted if name in partitions]
        configs = await _configs(admin, present)
        outcomes = {
            name: _compare(name, spec, partitions.get(name), configs.get(name, {})) for name, spec in wanted.items()
        }
        if not dry_run:
            created = [name for name, outcome in outcomes.items() if outcome.action == "created"]
            await _create(admin, {name: wanted[name] for name in created}, settings.kafka_replication_factor)
            for name, outcome in outcomes.items():
                if outcome.action == "altered":
                    await _alter(admin, name, _set_on_topic(configs[name]) | wanted[name].configs)
            await _wait_until_writable(admin, {name: wanted[name].partitions for name in created})
    return TopicsReport(tuple(outcomes.values()), dry_run)


async def delete_topics(settings: Settings, specs: Sequence[TopicSpec] = TOPIC_SPECS) -> None:
    """Delete this installation's topics with everything in them; absent ones are ignored."""
    async with _admin(settings) as admin:
        present = await _partition_counts(admin, [settings.topic(spec.topic) for spec in specs])
        if present:
            await admin.delete_topics(list(present))


def _durable(replication_factor: int) -> dict[str, str]:
    """With three replicas or more, a record is acknowledged once all but one have it, so any one broker may be lost.

    With Kafka's default of 1, a record may be on a single broker when it is acknowledged, and be lost with it.
    """
    return {"min.insync.replicas": str(replication_factor - 1)} if replication_factor >= 3 else {}


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _partition_counts(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    listed = await admin.describe_topics(names)
    return {topic["topic"]: len(topic["partitions"]) for topic in listed if topic["error_code"] == 0}


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, tuple[str, int]]]:
    """Per topic and configuration name: its value and where the value comes from."""
    found: dict[str, dict[str, tuple[str, int]]] = {}
    if not names:
        return found
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    for response in await admin.describe_configs(resources):
        for code, message, _kind, name, entries in response.resources:
            _raise_for(code, f"describe {name}", message)
            found[name] = {entry[0]: (entry[1], entry[3]) for entry in entries}
    return found


def _set_on_topic(configs: dict[str, tuple[str, int]]) -> dict[str, str]:
    return {name: value for name, (value, source) in configs.items() if source == _SET_ON_TOPIC}


def _compare(name: str, spec: TopicSpec, partitions: int | None, configs: dict[str, tuple[str, int]]) -> TopicOutcome:
    if partitions is None:
        return TopicOutcome(name, "created", f"{spec.partitions} partitions")
    if partitions != spec.partitions:
        return TopicOutcome(
            name,
            "mismatch",
            f"has {partitions} partitions instead of {spec.partitions}: this cannot be changed while it holds state; "
            "use another TOLLGATE_TOPIC_PREFIX, or delete the topic if its content is not needed",
        )
    differing = [
        f"{key} {configs[key][0] if key in configs else 'unset'} → {value}"
        for key, value in spec.configs.items()
        if configs.get(key, ("", 0))[0] != value
    ]
    return TopicOutcome(name, "altered", ", ".join(differing)) if differing else TopicOutcome(name, "unchanged")


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


async def _wait_until_writable(admin: AIOKafkaAdminClient, partitions: dict[str, int]) -> None:
    deadline = time.monotonic() + _VISIBLE_SECONDS_MAX
    while partitions:
        described: list[dict[str, Any]] = await admin.describe_topics(list(partitions))
        led = {
            topic["topic"]: sum(1 for partition in topic["partitions"] if partition["leader"] >= 0)
            for topic in described
            if topic["error_code"] == 0
        }
        if led == partitions:
            return
        if time.monotonic() > deadline:
            raise KafkaConnectionError(f"topics have no leader after {_VISIBLE_SECONDS_MAX} s: {sorted(partitions)}")
        await asyncio.sleep(0.05)


def _raise_for(code: int, attempt: str, message: str | None) -> None:
    if code:
        error: type[KafkaError] = for_code(code)
        raise error(f"Cannot {attempt}: {message or error.description}")
