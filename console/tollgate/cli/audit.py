"""`tollgate audit`: who changed what."""

from collections import deque
from typing import Annotated

from cyclopts import App, Parameter

from tollgate.cli.exits import UsageError
from tollgate.cli.options import LIMIT, AsJson, DataDir, Limit, examples
from tollgate.cli.output import print_json, print_table, say
from tollgate.cli.services import find_settings
from tollgate.control import differences
from tollgate.runtime.settings import Settings
from tollgate.runtime.topic_reading import read_batches
from tollgate.schemas.audit import AuditAction, AuditRecord
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic

_WHAT_CHARS_MAX = 120

app = App(
    name="audit",
    help_epilogue=examples(
        "tollgate audit", "tollgate audit --key 'budget/user/*:month:usd' --json", "tollgate audit --key token/"
    ),
)


@app.default
async def audit(
    *,
    key: Annotated[str, Parameter(help="Only changes of this key; with a slash at its end, of keys below it.")] = "",
    limit: Limit = LIMIT,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show who changed budgets, plans, prices, settings and tokens and who granted credits: from what to what, when and
    why. The latest come first.
    """
    if limit < 1:
        raise UsageError("--limit must be at least 1.")
    records = await _read(find_settings(data_dir), key, limit)
    if json:
        print_json([record.model_dump(mode="json") for record in records])
    elif records:
        rows = [(r.time, r.actor, r.key, r.version, _what(r), r.reason) for r in records]
        print_table(("TIME", "ACTOR", "KEY", "VERSION", "CHANGE", "REASON"), rows, right=(3,))
    else:
        say("No change was made yet." if not key else f"no change of {key!r} was made yet.")


async def _read(settings: Settings, key: str, limit: int) -> list[AuditRecord]:
    """The latest `limit` records, the latest first. The number of older ones, and of invalid ones, goes to stderr."""
    latest: deque[AuditRecord] = deque(maxlen=limit)
    found = unreadable = 0
    async for batch in read_batches(settings, Topic.AUDIT):
        for record in batch:
            told = (record.key or b"").decode("utf-8", "replace")
            if told == key or not key or (key.endswith("/") and told.startswith(key)):
                try:
                    latest.append(read_record(AuditRecord.model_validate_json, record.value))
                    found += 1
                except UnreadableError:
                    unreadable += 1
    if found > limit:
        say(f"{found - limit} older changes are not shown: raise --limit.")
    if unreadable:
        say(f"{unreadable} records of the audit are not valid and are left out.")
    return list(reversed(latest))


def _what(record: AuditRecord) -> str:
    if record.action is AuditAction.REMOVE:
        return "removed"
    if record.before is None:
        return "made"
    text = ", ".join(map(str, differences(record.before, record.after))) or "nothing"
    return text if len(text) <= _WHAT_CHARS_MAX else f"{text[: _WHAT_CHARS_MAX - 1]}…"
