"""Recomputes everything from the usage topic and compares it with what the system says."""

from tollgate.verification.report import Check, EventFault, FirstDifference, Report
from tollgate.verification.run import verify
from tollgate.verification.snapshot import Progress
from tollgate.verification.spill import SpaceError

__all__ = ["Check", "EventFault", "FirstDifference", "Progress", "Report", "SpaceError", "verify"]
