"""The console: the REST API and the dashboard, in one process. See README.md."""

from tollgate.runtime.settings import Settings


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    The process is imported here, because commands use parts of this package and must not wait for a web server.
    """
    from tollgate.console.process import run as serve

    return serve(settings)


__all__ = ["run"]
