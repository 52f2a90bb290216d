"""`tollgate dead-letters`: what was refused, why, and sending it again."""

import sys
from typing import Annotated, Final

from cyclopts import App, Parameter

from tollgate.cli.exits import AnswerIsNoError, Exit, UsageError
from tollgate.cli.options import AsJson, DataDir, examples
from tollgate.cli.output import print_json, print_line, print_table, say
from tollgate.cli.services import find_settings
from tollgate.console.letters import Letter, NoLetterError, Place, newest_letters, one_letter, text_of
from tollgate.console.letters import replay as replay_letters
from tollgate.schemas.refusals import RefusalReason
from tollgate.schemas.shown_text import safe

app = App(
    name="dead-letters",
    help_epilogue=examples(
        "tollgate dead-letters list --reason conflict",
        "tollgate dead-letters show 0:17",
        "tollgate dead-letters replay 0:17",
    ),
)

_LIMIT_MAX: Final = 10_000
# The largest event that is accepted; what is longer fills a terminal for nothing.
_SHOWN_BYTES_MAX: Final = 64 * 1024

# A name as it is in the records: an enumeration would be offered with dashes.
Reason = Annotated[str | None, Parameter(name="--reason")]


@app.command(
    name="list",
    help_epilogue=examples(
        "tollgate dead-letters list", "tollgate dead-letters list --reason future --limit 100 --json"
    ),
)
async def list_letters(
    *,
    reason: Reason = None,
    limit: int = 20,
    before: str | None = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List refused records, the newest first. Their content is not shown, and long keys and errors are cut.

    Parameters
    ----------
    reason
        Only those refused for this reason.
    limit
        How many at most, up to 10000.
    before
        PARTITION:OFFSET of the last one of the list before this: go on with older ones.
    """
    if not 1 <= limit <= _LIMIT_MAX:
        raise UsageError(f"--limit is from 1 to {_LIMIT_MAX}.")
    _check_reason(reason)
    last = None if before is None else _place(before)
    found, older = await newest_letters(find_settings(data_dir), limit, reason, last)
    if json:
        print_json([letter.as_json() for letter in found])
    elif found:
        rows = [
            (
                letter.place,
                letter.header("time"),
                letter.header("reason"),
                letter.source,
                letter.key_text,
                letter.header("error"),
            )
            for letter in found
        ]
        print_table(("PLACE", "TIME", "REASON", "SOURCE", "KEY", "ERROR"), rows)
    else:
        say(f"There are no {'older ' if before else ''}dead letters{f' with the reason {reason}' if reason else ''}.")
    if older:
        wanted = f" --reason {reason}" if reason else ""
        say(f"About {older:,} older records: `tollgate dead-letters list{wanted} --before {found[-1].place}`.")


@app.command(
    help_epilogue=examples("tollgate dead-letters show 0:17", "tollgate dead-letters show 0:17 --raw > event.bin")
)
async def show(
    place: str,
    *,
    raw: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show one refused record with its content. Control characters are escaped.

    Parameters
    ----------
    place
        PARTITION:OFFSET as `list` prints it.
    raw
        Write the record's own bytes and nothing else.
    """
    if raw and json:
        raise UsageError("give --raw or --json, not both.")
    try:
        letter = await one_letter(find_settings(data_dir), _place(place))
    except NoLetterError as error:
        raise AnswerIsNoError(str(error)) from None
    if raw:
        sys.stdout.flush()
        sys.stdout.buffer.write(letter.value or b"")
        sys.stdout.buffer.flush()
    elif json:
        print_json(letter.as_json(with_value=True))
    else:
        _print(letter)


def _check_reason(reason: str | None) -> RefusalReason | None:
    if reason is None:
        return None
    if reason not in list(RefusalReason):
        raise UsageError(f"--reason {reason!r} is none of {', '.join(RefusalReason)}.")
    return RefusalReason(reason)


def _place(text: str) -> Place:
    try:
        return Place.parse(text)
    except ValueError as error:
        raise UsageError(f"{error}.") from None


def _print(letter: Letter) -> None:
    print_line(f"place   {letter.place}")
    print_line(f"reason  {letter.header('reason')}")
    print_line(f"error   {letter.header('error')}")
    print_line(f"source  {letter.source}, {letter.header('time')}")
    print_line(f"key     {'(none)' if letter.key is None else text_of(letter.key)}")
    for name, value in letter.original_headers:
        print_line(f"header  {name}: {text_of(value)}")
    print_line(f"value   {'(none)' if letter.value is None else f'{len(letter.value):,} bytes'}")
    for line in safe_lines((letter.value or b"")[:_SHOWN_BYTES_MAX]) if letter.value else ():
        print_line(line)
    if letter.size > _SHOWN_BYTES_MAX:
        say(f"The first {_SHOWN_BYTES_MAX:,} bytes are shown: --raw writes all of them.")


def safe_lines(data: bytes) -> list[str]:
    """The bytes as lines for a terminal: new lines break, everything else that is no plain text is escaped."""
    return [safe(line) for line in text_of(data).replace("\r\n", "\n").split("\n")]


@app.command(
    help_epilogue=examples(
        "tollgate dead-letters replay 0:17", "tollgate dead-letters replay --reason future --dry-run"
    )
)
async def replay(
    place: str | None = None,
    *,
    reason: Reason = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> Exit:
    """Send refused records to the topic they came from again: the same bytes, key and CloudEvents headers.

    An event that was counted meanwhile is not counted again. Records that would be refused again are not sent, and the
    exit status is 1; equal records are sent once.

    Parameters
    ----------
    place
        PARTITION:OFFSET as `list` prints it.
    reason
        All records refused for this reason, instead of one.
    force
        Also send records that will be refused again.
    dry_run
        Only print what would be sent.
    """
    if (place is None) == (reason is None):
        raise UsageError("give PARTITION:OFFSET or --reason: see `tollgate dead-letters list`.")
    wanted = _check_reason(reason)
    chosen = None if place is None else _place(place)
    try:
        done = await replay_letters(find_settings(data_dir), place=chosen, reason=wanted, force=force, dry_run=dry_run)
    except NoLetterError as error:
        raise AnswerIsNoError(str(error)) from None
    sent, kept = done.sent, done.kept
    for where, why in done.reasons:
        say(f"{where} {why}")
    if kept > len(done.reasons):
        say(f"{kept - len(done.reasons):,} more are kept back.")
    if json:
        print_json({"replayed": 0 if dry_run else len(sent), "places": sent, "kept_back": kept, "dry_run": dry_run})
    else:
        print_line(f"{'would replay' if dry_run else 'replayed'} {len(sent):,} records, kept back {kept:,}")
    return Exit.NO if kept else Exit.OK
