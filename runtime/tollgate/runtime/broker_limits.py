"""Whether the brokers' own configuration lets Tollgate work: what stops it, and what is worth knowing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import BATCH_BYTES_MAX, TopicSpec

# A transaction of a worker that died is aborted after this time, unless its successor does so before.
TRANSACTION_TIMEOUT_MS: Final = 30_000

# A worker that its group has not heard of for so long is replaced.
SESSION_MS: Final = 10_000

# Kafka's own topics, which the first transaction and the first group make, and how many copies they are given.
_OWN_TOPICS: Final = {
    "__transaction_state": ("transaction.state.log.replication.factor", "no worker can begin a transaction"),
    "__consumer_offsets": ("offsets.topic.replication.factor", "no worker can join its group"),
}


@dataclass(frozen=True, slots=True)
class BrokerFinding:
    """One sentence about a broker. `stops` is whether Tollgate cannot work so, or would lose what it promises."""

    broker: str
    detail: str
    fix: str
    stops: bool

    @property
    def sentence(self) -> str:
        """What is wrong and what to do."""
        return f"broker {self.broker}: {self.detail}; {self.fix}"


async def broker_findings(
    admin: AIOKafkaAdminClient, settings: Settings, specs: Sequence[TopicSpec], topics: Iterable[str]
) -> tuple[BrokerFinding, ...]:
    """Ask every broker for its configuration and judge it. `topics` are ours that exist.

    A broker that does not tell is a finding of its own, which stops nobody.
    """
    described = await admin.describe_cluster()
    brokers = [broker["node_id"] for broker in described["brokers"]]
    # Asked for by name, Kafka's own topics would be made.
    existing = set(await admin.list_topics())
    found: list[BrokerFinding] = []
    for broker in brokers:
        try:
            configs = await _configs(admin, broker)
        except KafkaError as error:
            detail = f"does not tell its configuration ({type(error).__name__})"
            found.append(BrokerFinding(str(broker), detail, "allow DescribeConfigs on the cluster to check it", False))
            continue
        found += judge_broker(str(broker), configs, _largest(specs), len(brokers), existing)
    few = await _too_few_copies(admin, settings, list(topics))
    return (*found, *few)


async def _configs(admin: AIOKafkaAdminClient, broker: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for response in await admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, str(broker))]):
        for code, message, _kind, _name, entries in response.resources:
            if code:
                raise KafkaError(message)
            found |= {entry[0]: entry[1] for entry in entries if entry[1] is not None}
    return found


def _largest(specs: Iterable[TopicSpec]) -> int:
    return max((int(spec.configs.get("max.message.bytes", 0)) for spec in specs), default=0)


def judge_broker(
    broker: str, configs: Mapping[str, str], largest_bytes: int, brokers: int, existing: set[str]
) -> list[BrokerFinding]:
    """What stands in the way on this broker. A setting that it does not tell is taken for a good one.

    `largest_bytes` is the largest record of any of our topics, `existing` all topics of the cluster.
    """
    found: list[BrokerFinding] = []

    def number(name: str, otherwise: int) -> int:
        value = configs.get(name, "")
        return int(value) if value.lstrip("-").isdigit() else otherwise

    def tell(name: str, detail: str, value: object, *, stops: bool) -> None:
        found.append(BrokerFinding(broker, f"{name} is {configs[name]}: {detail}", f"set it to {value}", stops))

    # A batch that is not full is sent together with the largest record.
    request_bytes = largest_bytes + BATCH_BYTES_MAX
    if number("socket.request.max.bytes", request_bytes) < request_bytes:
        tell("socket.request.max.bytes", "it refuses our largest requests", f"{request_bytes} or more", stops=True)
    if number("transaction.max.timeout.ms", TRANSACTION_TIMEOUT_MS) < TRANSACTION_TIMEOUT_MS:
        text = "a worker asks for more and cannot start"
        tell("transaction.max.timeout.ms", text, f"{TRANSACTION_TIMEOUT_MS} or more", stops=True)
    if number("group.max.session.timeout.ms", SESSION_MS) < SESSION_MS:
        text = "a worker asks for more and cannot join its group"
        tell("group.max.session.timeout.ms", text, f"{SESSION_MS} or more", stops=True)
    if number("group.min.session.timeout.ms", SESSION_MS) > SESSION_MS:
        text = "a worker asks for less and cannot join its group"
        tell("group.min.session.timeout.ms", text, f"{SESSION_MS} or less", stops=True)
    if configs.get("log.cleaner.enable", "true").lower() == "false":
        text = "compacted topics grow for ever, and with them the time that a worker takes to start"
        tell("log.cleaner.enable", text, "true", stops=True)
    for topic, (name, harm) in _OWN_TOPICS.items():
        if topic not in existing and number(name, 1) > brokers:
            tell(name, f"there are {brokers} brokers, so {topic} cannot be made and {harm}", brokers, stops=True)
    if number("message.max.bytes", largest_bytes) < largest_bytes:
        text = f"our topics have limits of their own, up to {largest_bytes}, which come before it"
        tell("message.max.bytes", text, f"{largest_bytes} or more, should they be refused", stops=False)
    if brokers > 1 and number("replica.fetch.max.bytes", largest_bytes) < largest_bytes:
        text = f"records of up to {largest_bytes} bytes are copied one at a time"
        tell("replica.fetch.max.bytes", text, f"{largest_bytes} or more, should replicas fall behind", stops=False)
    return found


async def _too_few_copies(admin: AIOKafkaAdminClient, settings: Settings, topics: list[str]) -> list[BrokerFinding]:
    wanted = settings.kafka_replication_factor
    described = await admin.describe_topics(topics) if topics else []
    few = {
        topic["topic"]: fewest
        for topic in described
        if topic["error_code"] == 0 and (fewest := min(len(p["replicas"]) for p in topic["partitions"])) < wanted
    }
    if not few:
        return []
    names = ", ".join(f"{name} ({copies})" for name, copies in sorted(few.items()))
    detail = f"fewer copies than TOLLGATE_KAFKA_REPLICATION_FACTOR={wanted}: {names}"
    fix = "add replicas with Kafka's kafka-reassign-partitions.sh and run `tollgate topics apply` again"
    return [BrokerFinding("any", detail, fix, False)]
