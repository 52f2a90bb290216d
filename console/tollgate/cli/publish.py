"""`tollgate publish`: usage events from a file or a pipe to Kafka."""

import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

from cyclopts import App, Parameter

from tollgate.cli.csv_events import CsvMapping, CsvReader
from tollgate.cli.exits import Exit, UsageError
from tollgate.cli.file_events import DEFAULT_SOURCE, NdjsonReader, Reader, Refused
from tollgate.cli.options import AsJson, DataDir, examples
from tollgate.cli.output import is_colourful, print_json, print_line, say
from tollgate.cli.services import find_settings
from tollgate.runtime.settings import Settings
from tollgate.runtime.topic_writing import TopicWriter, open_writer
from tollgate.schemas.event_time import parse_event_time
from tollgate.schemas.instants import format_instant
from tollgate.schemas.topics import Topic

app = App(
    name="publish",
    help_epilogue=examples(
        "tollgate publish events.ndjson",
        "producer | tollgate publish - --json",
        "tollgate publish trace.csv --csv --map time=TIMESTAMP --map usage.input_tokens=ContextTokens "
        "--map usage.output_tokens=GeneratedTokens --set provider=openai --set model=gpt-4o --set subject=u1 "
        "--shift-time now",
        "tollgate publish events.ndjson --dry-run",
    ),
)

# Enough to see what is wrong with a file; the summary counts the rest.
_REFUSALS_SHOWN_MAX: Final = 100
_LINES_PER_TICK: Final = 1000
# The worker refuses times further ahead of the broker's clock.
_AHEAD_MS_MAX: Final = 5 * 60 * 1000

Tick = Callable[[int], None]


@dataclass(slots=True)
class _Count:
    published: int = 0
    future: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    shown: list[dict[str, Any]] = field(default_factory=list)
    first_ms: int | None = None
    last_ms: int | None = None

    def accept(self, time_ms: int, now_ms: int) -> None:
        self.published += 1
        self.future += time_ms > now_ms + _AHEAD_MS_MAX
        if self.first_ms is None or time_ms < self.first_ms:
            self.first_ms = time_ms
        if self.last_ms is None or time_ms > self.last_ms:
            self.last_ms = time_ms

    def refuse(self, found: Refused) -> None:
        self.refused[found.refusal.reason.value] += 1
        if len(self.shown) < _REFUSALS_SHOWN_MAX:
            self.shown.append({"line": found.line, "reason": found.refusal.reason.value, "error": found.refusal.error})
            say(f"line {found.line} refused, {found.refusal.reason.value}: {found.refusal.error}")


@app.default
async def publish(
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    *,
    csv: Annotated[bool, Parameter(negative="")] = False,
    map: Annotated[tuple[str, ...], Parameter(name="--map", negative="")] = (),  # noqa: A002 # the contract's name
    set: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),  # noqa: A002 # the contract's name
    delimiter: str = ",",
    source: str = DEFAULT_SOURCE,
    shift_time: str | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> Exit:
    """Publish usage events from FILE, or from standard input when it is `-`.

    Each line is one event in JSON (NDJSON), or with --csv one row below a header. Invalid lines are reported by number
    and left out; the exit status is 1 then. An event without id gets one from its content and how often the same
    content came before it, so that running the same command again changes nothing, also with another --shift-time,
    another order of options, columns or keys, or other spellings of the same numbers and times. Names are compared byte
    for byte: composed and decomposed accents are different names.

    Parameters
    ----------
    file
        NDJSON or CSV; `-` reads standard input.
    csv
        The file is CSV with a header. Needs --map and --set.
    map
        FIELD=COLUMN, repeated. Fields: subject, id, source, time, provider, model, agent, and the event's other names;
        usage.NAME, options.NAME, metadata.NAME. Times without an offset are taken as UTC.
    set
        FIELD=VALUE for every row, or for those whose column is empty; repeated.
    delimiter
        The character between the columns of CSV.
    source
        Source for events that have none; it is part of an event's identity.
    shift_time
        `now` or an instant: shift all times so that the last event happens then.
    dry_run
        Check everything and publish nothing; Kafka is not needed.
    """
    reader = _reader(csv, map, set, delimiter, source)
    target_ms = _target(shift_time)
    settings = None if dry_run else find_settings(data_dir)
    # A pipe may keep us waiting where no cancellation can reach, so Ctrl-C must raise at once.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    count = _Count()
    started = time.monotonic()
    shift_ms = 0
    with _opened(file, spool=target_ms is not None) as (stream, size):
        if target_ms is not None:
            with _progress("reading", size, stream) as tick:
                last_ms = _last_time(reader, stream, tick)
            shift_ms = target_ms - last_ms if last_ms is not None else 0
            stream.seek(0)
        with _progress("checking" if dry_run else "publishing", size, stream) as tick:
            async with _writing(settings) as writer:
                await _copy(reader, stream, shift_ms, writer, count, tick)
    _report(count, shift_ms, time.monotonic() - started, dry_run, json)
    return Exit.NO if count.refused else Exit.OK


def _reader(csv: bool, maps: tuple[str, ...], sets: tuple[str, ...], delimiter: str, source: str) -> Reader:
    if not csv:
        if maps or sets:
            raise UsageError("--map and --set are for CSV: add --csv.")
        return NdjsonReader(source)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise UsageError("--delimiter is one character, such as ';'.")
    return CsvReader(CsvMapping.parse(maps, sets), source, delimiter)


def _target(shift_time: str | None) -> int | None:
    if shift_time is None:
        return None
    if shift_time == "now":
        return int(time.time() * 1000)
    try:
        return parse_event_time(shift_time)
    except ValueError as error:
        raise UsageError(f"--shift-time {error}, or is the word now.") from None


@contextmanager
def _opened(file: str, spool: bool) -> Iterator[tuple[BinaryIO, int | None]]:
    """The file and its size in bytes, if known. With `spool` it can be read twice, whatever it is."""
    if file == "-":
        stream: BinaryIO = sys.stdin.buffer
        size = None
    else:
        path = Path(file)
        try:
            stream = path.open("rb")
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror}.") from None
        size = path.stat().st_size if path.is_file() else None
    with nullcontext() if file == "-" else stream:
        if not spool or size is not None:
            yield stream, size
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(stream, copy, 1024 * 1024)
            size = copy.tell()
            copy.seek(0)
            yield copy, size


def _last_time(reader: Reader, stream: BinaryIO, tick: Tick) -> int | None:
    last_ms: int | None = None
    for number, found in enumerate(reader.read(stream)):
        if not isinstance(found, Refused) and (last_ms is None or found.time_ms > last_ms):
            last_ms = found.time_ms
        if number % _LINES_PER_TICK == 0:
            tick(number)
    return last_ms


@asynccontextmanager
async def _writing(settings: Settings | None) -> AsyncIterator[TopicWriter | None]:
    if settings is None:
        yield None
        return
    async with open_writer(settings, Topic.USAGE) as writer:
        yield writer


async def _copy(
    reader: Reader, stream: BinaryIO, shift_ms: int, writer: TopicWriter | None, count: _Count, tick: Tick
) -> None:
    now_ms = int(time.time() * 1000)
    for number, found in enumerate(reader.read(stream, shift_ms)):
        if isinstance(found, Refused):
            count.refuse(found)
        else:
            if writer is not None:
                await writer.write(found.user.encode(), found.value)
            count.accept(found.time_ms, now_ms)
        if number % _LINES_PER_TICK == 0:
            now_ms = int(time.time() * 1000)
            tick(number)


@contextmanager
def _progress(what: str, size: int | None, stream: BinaryIO) -> Iterator[Tick]:
    """A bar on a terminal; elsewhere nothing."""
    if not is_colourful(sys.stderr):
        yield lambda _lines: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[lines]:,} lines"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=size, lines=0)
        # A pipe has no position, so its bar only pulses.
        yield lambda lines: progress.update(task, completed=stream.tell() if size else 0, lines=lines)


def _report(count: _Count, shift_ms: int, seconds: float, dry_run: bool, json: bool) -> None:
    refused = count.refused.total()
    if refused > len(count.shown):
        by_reason = ", ".join(f"{reason} {number:,}" for reason, number in count.refused.most_common())
        say(f"refused {refused:,} lines, of which the first {len(count.shown)} are shown: {by_reason}")
    if count.future:
        say(
            f"{count.future:,} events are more than 5 minutes ahead of this machine's clock: the worker refuses them "
            "(see `tollgate dead-letters list --reason future`)"
        )
    if json:
        print_json(
            {
                "published": 0 if dry_run else count.published,
                "valid": count.published,
                "refused": refused,
                "refusals": count.shown,
                "dry_run": dry_run,
                "shifted_ms": shift_ms,
                "first_time": _instant(count.first_ms),
                "last_time": _instant(count.last_ms),
                "seconds": f"{seconds:.3f}",
                "events_per_second": int(count.published / seconds) if seconds else 0,
            }
        )
    elif dry_run:
        print_line(f"would publish {count.published:,} events, refused {refused:,}")
    else:
        print_line(f"published {count.published:,} events, refused {refused:,}")


def _instant(instant_ms: int | None) -> str | None:
    return None if instant_ms is None else format_instant(instant_ms)
