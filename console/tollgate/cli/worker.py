"""`tollgate worker`: one worker process."""

from cyclopts import App

from tollgate.cli.options import DataDir, examples
from tollgate.cli.services import find_settings

app = App(
    name="worker",
    help_epilogue=examples("tollgate worker", "TOLLGATE_WORKER_PORT=6066 TOLLGATE_WORKER_ID=worker-0 tollgate worker"),
)


@app.default
def worker(*, data_dir: DataDir = None) -> int:
    """Run one worker until SIGTERM: it prices events, sums up spend, and writes flags and alerts.

    Serves /live, /ready and /metrics on TOLLGATE_WORKER_HOST:TOLLGATE_WORKER_PORT. Workers share the partitions; give
    each its own TOLLGATE_WORKER_ID. While Kafka cannot be reached it waits and logs that.
    """
    from tollgate.worker import run

    return run(find_settings(data_dir))
