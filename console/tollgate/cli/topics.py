"""`tollgate topics apply`: make Kafka's topics as this release needs them."""

import asyncio
from dataclasses import asdict
from typing import Annotated

from cyclopts import App, Parameter

from tollgate.cli.exits import Exit, UnreachableError
from tollgate.cli.options import AsJson, DataDir, examples
from tollgate.cli.output import print_json, print_table, say, say_error
from tollgate.cli.services import find_settings, reaching_kafka
from tollgate.runtime.topic_reading import ask_kafka
from tollgate.runtime.topics_admin import apply_topics

# Creating a dozen topics and seeing them everywhere takes a busy cluster longer than one answer does.
_APPLY_SECONDS_MAX = 60

app = App(name="topics", help_epilogue=examples("tollgate topics apply", "tollgate topics apply --dry-run --json"))


@app.command(help_epilogue=examples("tollgate topics apply", "tollgate topics apply --dry-run --json"))
async def apply(
    *, dry_run: Annotated[bool, Parameter(negative="")] = False, json: AsJson = False, data_dir: DataDir = None
) -> Exit:
    """Create missing topics, set configurations that differ, and check the number of partitions.

    Partitions are never changed, because a user's state is kept in the partition that their id hashes to. The brokers'
    own limits are checked too. Exit 1 when a topic or a broker is not as needed and only a person can correct it, or
    when --dry-run finds something to do.

    Parameters
    ----------
    dry_run
        Only print what would be done.
    """
    settings = find_settings(data_dir)
    await ask_kafka(settings)
    async with reaching_kafka(settings):
        try:
            async with asyncio.timeout(_APPLY_SECONDS_MAX):
                report = await apply_topics(settings, dry_run=dry_run)
        except TimeoutError:
            raise UnreachableError(
                f"Kafka at {settings.kafka_bootstrap_servers} did not finish within {_APPLY_SECONDS_MAX} s: run the "
                "command again."
            ) from None
    if json:
        topics, brokers = map(asdict, report.topics), map(asdict, report.brokers)
        print_json({"ok": report.ok, "dry_run": dry_run, "topics": list(topics), "brokers": list(brokers)})
    else:
        print_table(("TOPIC", "RESULT", "DETAIL"), [(t.topic, t.action, t.detail) for t in report.topics])
    for found in report.brokers:
        (say_error if found.stops else say)(found.sentence)
    if report.ok:
        return Exit.OK
    if dry_run and any(topic.action in ("created", "altered") for topic in report.topics):
        say_error("the topics are not as this release needs them: run `tollgate topics apply`.")
    if report.named("mismatch"):
        say_error("topics marked mismatch must be corrected by hand: see DETAIL.")
    return Exit.NO
