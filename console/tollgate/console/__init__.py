"""The console: the REST API and the dashboard, in one process. See README.md."""

from tollgate.console.process import run

__all__ = ["run"]
