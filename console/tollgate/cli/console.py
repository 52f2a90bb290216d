"""`tollgate console`: the REST API and the dashboard, and a link to log in."""

from cyclopts import App

from tollgate.cli.console_login import login
from tollgate.cli.options import DataDir, examples
from tollgate.cli.services import find_settings

app = App(
    name="console",
    help_epilogue=examples("tollgate console", "TOLLGATE_CONSOLE_PORT=8080 tollgate console", "tollgate console login"),
)


@app.default
def console(*, data_dir: DataDir = None) -> int:
    """Serve the REST API and the pages until SIGTERM, on TOLLGATE_CONSOLE_HOST and TOLLGATE_CONSOLE_PORT.

    Any number of these processes may run behind a proxy. While Kafka or ClickHouse is away, they say which numbers
    are old.
    """
    from tollgate.console import run

    return run(find_settings(data_dir))


app.command(login, help_epilogue=examples("tollgate console login", "tollgate console login --role viewer --json"))
