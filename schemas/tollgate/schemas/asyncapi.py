"""The public topics as an AsyncAPI 3 document: for people, and for code generators in other languages."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tollgate.schemas.audit import AuditRecord
from tollgate.schemas.control import AssignmentRecord, BudgetRecord, PlanRecord, PriceRecord, SettingRecord
from tollgate.schemas.outputs import Alert, DeadLetterHeaders, Flag, PricedEvent, SpendRecord
from tollgate.schemas.tokens import TokenRecord
from tollgate.schemas.topics import TOPIC_SPECS, Topic, TopicSpec, topic_name
from tollgate.schemas.usage_event import UsageEvent

_BINDING_VERSION: Final = "0.5.0"
_CLOUD_EVENT: Final = "application/cloudevents+json"
# Whatever was sent.
_BYTES: Final = "application/octet-stream"
# The topic settings that the Kafka binding knows.
_INTEGER_CONFIGS: Final = ("retention.ms", "delete.retention.ms", "max.message.bytes")


@dataclass(frozen=True, slots=True)
class _Message:
    """One kind of record: what its key and value are. `model` is None where nothing more is said of the value."""

    name: str
    key: str
    summary: str
    model: type[BaseModel] | None = None
    headers: type[BaseModel] | None = None
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class _Channel:
    """One public topic, seen from Tollgate: `receive` is read by it, `send` is written."""

    topic: Topic
    action: Literal["receive", "send"]
    description: str
    messages: tuple[_Message, ...]


_CHANNELS: Final = (
    _Channel(
        Topic.USAGE,
        "receive",
        "Services publish one CloudEvent per call of a paid API. The key must be the user id, the event's `subject`. "
        "Structured mode is described here; binary mode (attributes in `ce_` headers, `data` as value) is read too.",
        (
            _Message(
                "usageEvent",
                "The user id.",
                "A user consumed amounts at a time.",
                UsageEvent,
                content_type=_CLOUD_EVENT,
            ),
        ),
    ),
    _Channel(
        Topic.ENTRIES,
        "receive",
        "What stands in the ledger besides usage, as CloudEvents. A topic of its own, so that an ACL keeps services "
        "that report usage from granting themselves credits. The key must be the user id, the event's `subject`.",
        (_Message("entry", "The user id.", "An entry of a user, told by its `type`.", content_type=_CLOUD_EVENT),),
    ),
    _Channel(
        Topic.PRICED,
        "send",
        "One record per counted event or adjustment, with its cost. Read with isolation.level=read_committed.",
        (_Message("pricedEvent", "The user id.", "A counted usage event with its cost.", PricedEvent),),
    ),
    _Channel(
        Topic.FLAGS,
        "send",
        "The current decision per scope. A call is blocked when the flag of any of its scopes is.",
        (_Message("flag", "The scope, for example user/u-42.", "May this scope go on spending?", Flag),),
    ),
    _Channel(
        Topic.SPEND,
        "send",
        "Sums per scope and window.",
        (_Message("spend", "scope|window kind|window start.", "What a scope has spent in a window.", SpendRecord),),
    ),
    _Channel(
        Topic.ALERTS,
        "send",
        "One record per problem, rewritten under its key as it changes and when it is resolved.",
        (_Message("alert", "The alert key.", "A problem that somebody should know of.", Alert),),
    ),
    _Channel(
        Topic.DECISIONS,
        "send",
        "Answers to reservations, in the partition that the requester named. Read with isolation.level=read_committed.",
        (_Message("decision", "The requester, `reply_to`.", "Whether a reservation is granted, and why not."),),
    ),
    _Channel(
        Topic.BALANCES,
        "send",
        "The credits of each user that has an account. Read with isolation.level=read_committed.",
        (_Message("balance", "The user id.", "What a user has been granted, has burned and has left."),),
    ),
    _Channel(
        Topic.CONTROL,
        "receive",
        "Budgets, plans, prices, settings and tokens, set at run time. A record without a value removes. Change them "
        "through the command line or the REST API, which keep the versions and the audit; read with "
        "isolation.level=read_committed.",
        (
            _Message("budget", "budget/<id>", "A limit on a scope's spend in a window.", BudgetRecord),
            _Message("plan", "plan/<id>", "Limits and free credits that users are subscribed to.", PlanRecord),
            _Message(
                "assignment",
                "assignment/user/<id> or assignment/default",
                "The plan of a user, or of everybody without one of their own.",
                AssignmentRecord,
            ),
            _Message("price", "price/<id>", "What a model or an agent costs in an interval.", PriceRecord),
            _Message("setting", "setting/<name>", "A setting of the whole installation.", SettingRecord),
            _Message("token", "token/<id>", "Who may use the console, and until when.", TokenRecord),
        ),
    ),
    _Channel(
        Topic.AUDIT,
        "send",
        "One record per change of the control topic, written in the same transaction. Kept for ever.",
        (_Message("audit", "The control record's key.", "Who changed what from what to what, and why.", AuditRecord),),
    ),
    _Channel(
        Topic.DEAD_LETTERS,
        "send",
        "Refused inputs with their original key and bytes. The reason is in the headers.",
        (_Message("deadLetter", "The refused record's key.", "A refused input.", None, DeadLetterHeaders, _BYTES),),
    ),
)


def asyncapi_document() -> dict[str, Any]:
    """The document as JSON-ready objects. Names carry the default prefix `tollgate.`."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tollgate",
            "version": "1.0.0",
            "description": "Usage and cost control over Kafka. Values are UTF-8 JSON; money and amounts are decimal "
            "strings; fields may be added, so readers ignore those they do not know. What Tollgate sends is written "
            "in transactions. Topic names start with a prefix that can be configured.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_camel(channel.topic): _channel(channel) for channel in _CHANNELS},
        "operations": {f"{c.action}{_capital(_camel(c.topic))}": _operation(c) for c in _CHANNELS},
        "components": {
            "messages": {m.name: _message(m) for channel in _CHANNELS for m in channel.messages},
            "schemas": _schemas(),
        },
    }


def _channel(channel: _Channel) -> dict[str, Any]:
    spec = next(spec for spec in TOPIC_SPECS if spec.topic is channel.topic)
    return {
        "address": topic_name(channel.topic),
        "description": channel.description,
        "messages": {m.name: {"$ref": f"#/components/messages/{m.name}"} for m in channel.messages},
        "bindings": {"kafka": _topic_binding(spec)},
    }


def _topic_binding(spec: TopicSpec) -> dict[str, Any]:
    numbers = {name: int(spec.configs[name]) for name in _INTEGER_CONFIGS if name in spec.configs}
    return {
        "topic": topic_name(spec.topic),
        "partitions": spec.partitions,
        "topicConfiguration": {"cleanup.policy": [spec.configs["cleanup.policy"]], **numbers},
        "bindingVersion": _BINDING_VERSION,
    }


def _operation(channel: _Channel) -> dict[str, Any]:
    name = _camel(channel.topic)
    return {
        "action": channel.action,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{m.name}"} for m in channel.messages],
    }


def _message(message: _Message) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": message.name,
        "summary": message.summary,
        "contentType": message.content_type,
    }
    if message.model is not None:
        described["payload"] = {"$ref": f"#/components/schemas/{message.model.__name__}"}
    if message.headers is not None:
        described["headers"] = {"$ref": f"#/components/schemas/{message.headers.__name__}"}
    key = {"type": "string", "description": message.key}
    return {**described, "bindings": {"kafka": {"key": key, "bindingVersion": _BINDING_VERSION}}}


def _schemas() -> dict[str, Any]:
    models = [model for c in _CHANNELS for m in c.messages for model in (m.model, m.headers) if model is not None]
    _, document = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = document["$defs"]
    return schemas


def _camel(topic: Topic) -> str:
    first, *rest = topic.value.split("-")
    return first + "".join(map(_capital, rest))


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]
