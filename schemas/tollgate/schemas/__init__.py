"""The records in Kafka: topics, keys, values and their validation. See README.md.

Names are imported when they are first asked for: a command that only needs topics does not wait for the models.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tollgate.schemas.audit import AuditRecord
    from tollgate.schemas.control import (
        AssignmentRecord,
        BudgetRecord,
        PlanLimitRecord,
        PlanRecord,
        PriceRecord,
        RateRecord,
        ThresholdRecord,
        ThresholdsRecord,
    )
    from tollgate.schemas.outputs import Alert, DeadLetterHeaders, Flag, PricedEvent, SpendRecord
    from tollgate.schemas.outputs_codec import PricedRecord, encode_priced
    from tollgate.schemas.partitions import partition_of
    from tollgate.schemas.refusals import Refusal, RefusalReason
    from tollgate.schemas.scopes import Dimension, parse_names, parse_scope, scope_of
    from tollgate.schemas.tokens import TokenRecord
    from tollgate.schemas.topics import TOPIC_SPECS, Topic, TopicSpec, topic_name
    from tollgate.schemas.usage_codec import EventData, EventRecord, decode_usage_event
    from tollgate.schemas.usage_event import UsageData, UsageEvent, validate_usage_event
    from tollgate.schemas.usage_identity import fingerprint, identity_digest

_NAMES_BY_MODULE = {
    "audit": ("AuditRecord",),
    "control": (
        "AssignmentRecord",
        "BudgetRecord",
        "PlanLimitRecord",
        "PlanRecord",
        "PriceRecord",
        "RateRecord",
        "ThresholdRecord",
        "ThresholdsRecord",
    ),
    "outputs": ("Alert", "DeadLetterHeaders", "Flag", "PricedEvent", "SpendRecord"),
    "outputs_codec": ("PricedRecord", "encode_priced"),
    "partitions": ("partition_of",),
    "refusals": ("Refusal", "RefusalReason"),
    "scopes": ("Dimension", "parse_names", "parse_scope", "scope_of"),
    "tokens": ("TokenRecord",),
    "topics": ("TOPIC_SPECS", "Topic", "TopicSpec", "topic_name"),
    "usage_codec": ("EventData", "EventRecord", "decode_usage_event"),
    "usage_event": ("UsageData", "UsageEvent", "validate_usage_event"),
    "usage_identity": ("fingerprint", "identity_digest"),
}
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}

__all__ = [
    "TOPIC_SPECS",
    "Alert",
    "AssignmentRecord",
    "AuditRecord",
    "BudgetRecord",
    "DeadLetterHeaders",
    "Dimension",
    "EventData",
    "EventRecord",
    "Flag",
    "PlanLimitRecord",
    "PlanRecord",
    "PriceRecord",
    "PricedEvent",
    "PricedRecord",
    "RateRecord",
    "Refusal",
    "RefusalReason",
    "SpendRecord",
    "ThresholdRecord",
    "ThresholdsRecord",
    "TokenRecord",
    "Topic",
    "TopicSpec",
    "UsageData",
    "UsageEvent",
    "decode_usage_event",
    "encode_priced",
    "fingerprint",
    "identity_digest",
    "parse_names",
    "parse_scope",
    "partition_of",
    "scope_of",
    "topic_name",
    "validate_usage_event",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
