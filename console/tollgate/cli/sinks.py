"""`tollgate sink clickhouse` and `tollgate sink alerts`: one sink process each."""

from typing import Annotated

from cyclopts import App, Parameter

from tollgate.cli.exits import AnswerIsNoError, Exit, UsageError
from tollgate.cli.options import DataDir, examples
from tollgate.cli.output import say
from tollgate.cli.services import find_settings

app = App(name="sink", help_epilogue=examples("tollgate sink clickhouse", "tollgate sink alerts"))


@app.command(help_epilogue=examples("TOLLGATE_CLICKHOUSE_URL=http://db:8123 tollgate sink clickhouse"))
def clickhouse(*, data_dir: DataDir = None) -> int:
    """Copy the topics to ClickHouse until SIGTERM. While Kafka or ClickHouse is away, it waits and logs that."""
    from tollgate.sinks.clickhouse import run

    return run(find_settings(data_dir))


@app.command(
    help_epilogue=examples(
        "TOLLGATE_SLACK_BOT_TOKEN_FILE=/run/secrets/slack TOLLGATE_SLACK_CHANNEL=C0123456789 tollgate sink alerts",
        "tollgate sink alerts --test",
    )
)
def alerts(*, test: Annotated[bool, Parameter(negative="")] = False, data_dir: DataDir = None) -> int:
    """Post alerts to Slack until SIGTERM, one message per problem. Without a token or webhook they are printed.

    Parameters
    ----------
    test
        Post one test message, mark it as resolved, and end, to check the settings.
    """
    from tollgate.sinks.alerts import ConfigurationError, run, send_test_alert

    settings = find_settings(data_dir)
    if not test:
        return run(settings)
    try:
        problem = send_test_alert(settings)
    except ConfigurationError as error:
        raise UsageError(str(error)) from None
    if problem is not None:
        raise AnswerIsNoError(problem)
    say("The test alert was posted and resolved.")
    return Exit.OK
