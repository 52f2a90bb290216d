"""Recomputes everything from the usage topic and compares it with what the system says."""

from tollgate.verification.report import Check, Report
from tollgate.verification.run import Progress, verify

__all__ = ["Check", "Progress", "Report", "verify"]
