"""`tollgate console`: the REST API and the dashboard, and a link to log in."""

from cyclopts import App

from tollgate.cli.console_login import login
from tollgate.cli.options import examples

app = App(name="console", help_epilogue=examples("tollgate console login"))

app.command(login, help_epilogue=examples("tollgate console login", "tollgate console login --role viewer --json"))
