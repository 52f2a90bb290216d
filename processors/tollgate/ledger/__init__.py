"""The exactly-once engine: partitions, transactions, recovery, dedupe. See README.md."""

from tollgate.ledger.core import Core, CoreMissingError, choose_core
from tollgate.ledger.counters import Counters
from tollgate.ledger.endings import FileEndings
from tollgate.ledger.engine import Engine
from tollgate.ledger.faults import fault_points
from tollgate.ledger.kafka_log import KafkaLog
from tollgate.ledger.lane import Lane
from tollgate.ledger.link import Link, fatal, partitions_of_lane
from tollgate.ledger.policy import ANY_AGE_MS, Policy, none_blocked
from tollgate.ledger.source import Source

__all__ = [
    "ANY_AGE_MS",
    "Core",
    "CoreMissingError",
    "Counters",
    "Engine",
    "FileEndings",
    "KafkaLog",
    "Lane",
    "Link",
    "Policy",
    "Source",
    "choose_core",
    "fatal",
    "fault_points",
    "none_blocked",
    "partitions_of_lane",
]
