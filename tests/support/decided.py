"""A decision as those read it who get its records."""

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from tollgate.domain.decisions import Decision
from tollgate.schemas.outputs import Alert, Flag


@dataclass(frozen=True)
class Told:
    """The decision, with what it writes as JSON."""

    changed: bool
    flag: dict[str, Any] | None
    alerts: list[dict[str, Any]]
    due_ms: int | None


def told(decision: Decision) -> Told:
    """Every record is one that the models accept."""
    flag = None if decision.flag is None else json.loads(msgspec.json.encode(decision.flag))
    if flag is not None:
        Flag.model_validate(flag)
    alerts = [json.loads(msgspec.json.encode(alert)) for alert in decision.alerts]
    for alert in alerts:
        Alert.model_validate(alert)
    return Told(decision.changed, flag, alerts, decision.due_ms)
