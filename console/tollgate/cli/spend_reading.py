"""The worker's spend of one scope, by window, from the spend topic."""

from tollgate.cli.output import say
from tollgate.cli.scope_names import partitions_of_scope
from tollgate.runtime.settings import Settings
from tollgate.runtime.topic_reading import read_latest
from tollgate.schemas.outputs import SpendRecord
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic


async def read_spend(settings: Settings, scope: str) -> dict[tuple[str, str], SpendRecord]:
    """The scope's spend by calendar and start of the window, `("month", "2026-11-01T00:00:00Z")`."""
    prefix = f"{scope}|".encode()
    latest = await read_latest(
        settings,
        Topic.SPEND,
        lambda key: key.startswith(prefix),
        partitions=partitions_of_scope(scope, settings.usage_partitions),
    )
    found: dict[tuple[str, str], SpendRecord] = {}
    for key, value in latest.items():
        try:
            record = read_record(SpendRecord.model_validate_json, value)
        except UnreadableError as error:
            say(f"the spend record {key!r} cannot be read: {error}")
            continue
        # Another scope may start with this one's name and a bar.
        if record.scope == scope:
            # The key alone tells on which day months or weeks begin.
            found[key.removeprefix(f"{scope}|").partition("|")[0], record.window.start] = record
    return found
