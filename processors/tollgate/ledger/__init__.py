"""The exactly-once engine: partitions, transactions, recovery, dedupe. See README.md."""

from tollgate.ledger.counters import Counters
from tollgate.ledger.engine import Engine
from tollgate.ledger.lane import Lane, Link, fatal
from tollgate.ledger.policy import Policy

__all__ = ["Counters", "Engine", "Lane", "Link", "Policy", "fatal"]
