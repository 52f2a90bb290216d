"""Recounts the usage topic and compares the result with everything that the worker and the sinks wrote."""

from tollgate.verification.report import Check, EventFault, FirstDifference, Report
from tollgate.verification.run import verify
from tollgate.verification.snapshot import Progress
from tollgate.verification.spill import SpaceError

__all__ = ["Check", "EventFault", "FirstDifference", "Progress", "Report", "SpaceError", "verify"]
