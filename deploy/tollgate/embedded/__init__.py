"""Kafka, ClickHouse and Tollgate's own processes on one machine, without Docker. See README.md."""

from tollgate.embedded.errors import (
    AlreadyRunningError,
    EmbeddedError,
    MissingPartError,
    NotReadyError,
    PortTakenError,
    QueryError,
)
from tollgate.embedded.jars import damaged_jars, ensure_jars, jar_directory, missing_jars
from tollgate.embedded.kafka import BrokerAddress, java
from tollgate.embedded.kafka import is_ready as kafka_is_ready
from tollgate.embedded.launch import StackPlan, run_stack, stack_settings, start_detached, stop_stack
from tollgate.embedded.ports import accepts_connections, free_ports, is_free
from tollgate.embedded.stack import Role, Stack
from tollgate.embedded.stack_state import ProcessId, RoleState, StackState, read_state, running_state
from tollgate.embedded.supervisor import Deadlines, RestartPolicy, Supervisor

__all__ = [
    "AlreadyRunningError",
    "BrokerAddress",
    "Deadlines",
    "EmbeddedError",
    "MissingPartError",
    "NotReadyError",
    "PortTakenError",
    "ProcessId",
    "QueryError",
    "RestartPolicy",
    "Role",
    "RoleState",
    "Stack",
    "StackPlan",
    "StackState",
    "Supervisor",
    "accepts_connections",
    "damaged_jars",
    "ensure_jars",
    "free_ports",
    "is_free",
    "jar_directory",
    "java",
    "kafka_is_ready",
    "missing_jars",
    "read_state",
    "run_stack",
    "running_state",
    "stack_settings",
    "start_detached",
    "stop_stack",
]
