"""The Faust app around the ledger: transport, control topic, probes and metrics. See README.md."""

from tollgate.worker.app import run

__all__ = ["run"]
