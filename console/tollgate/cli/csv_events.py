"""Usage events from CSV: which column or constant becomes which field, and what type it has there."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

from tollgate.cli.content_ids import ContentIds
from tollgate.cli.csv_numbers import NumberError, plain_amount, plain_number
from tollgate.cli.exits import UsageError
from tollgate.cli.file_events import (
    DEFAULT_SOURCE,
    LINE_BYTES_MAX,
    Accepted,
    Refused,
    exact_instant,
    identified,
    require_utf8,
    shifted,
)
from tollgate.schemas.event_time import parse_event_time
from tollgate.schemas.instants import to_ms
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.text_rules import USAGE_KEY
from tollgate.schemas.usage_codec import EventData
from tollgate.schemas.usage_limits import SPEC_VERSION
from tollgate.schemas.vocabulary import EntryType

_ENVELOPE: Final = ("subject", "id", "source", "time")
_GROUPS: Final = ("usage", "options", "metadata")
_PLAIN: Final = tuple(name for name in EventData.__struct_fields__ if name not in _GROUPS)
_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True)
class CsvMapping:
    """Field names (`subject`, `model`, `usage.input_tokens`, …) to column names, and to constants."""

    columns: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, maps: Sequence[str], sets: Sequence[str]) -> "CsvMapping":
        """From `--map FIELD=COLUMN` and `--set FIELD=VALUE`. UsageError names what is wrong.

        A field may have both: the constant stands where the column's cell is empty.
        """
        mapping = cls(_pairs("--map", maps), _pairs("--set", sets))
        for name in ("time", "subject"):
            if name not in mapping.columns and name not in mapping.constants:
                raise UsageError(
                    f"--csv needs to know each event's {name}: add --map {name}=COLUMN or --set {name}=VALUE."
                )
        return mapping


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise UsageError(f"{option} {text!r} is not FIELD={'COLUMN' if option == '--map' else 'VALUE'}.")
        group, dot, key = name.partition(".")
        known = bool(dot and key and group in _GROUPS) if dot else name in (*_ENVELOPE, *_PLAIN)
        if not known or (group == "usage" and USAGE_KEY.fullmatch(key) is None):
            fields = ", ".join((*_ENVELOPE, *_PLAIN, *(f"{group}.NAME" for group in _GROUPS)))
            raise UsageError(f"{option} {text!r} names no field of a usage event: use one of {fields}.")
        if name in found:
            raise UsageError(f"{option} gives {name} twice: give it once.")
        found[name] = value
    return found


class CsvReader:
    """One event per row below the header. Times without an offset are UTC; more than three decimals are cut off."""

    def __init__(self, mapping: CsvMapping, source: str = DEFAULT_SOURCE, delimiter: str = ",") -> None:
        self._mapping = mapping
        self._source = source
        self._delimiter = delimiter

    def read(self, file: BinaryIO, shift_ms: int = 0) -> Iterator[Accepted | Refused]:
        """See `Reader`. UsageError when the header lacks a mapped column. A row's line is the one it ends on."""
        # Bytes that are no UTF-8 pass as surrogates, so that one bad row does not end the file.
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        csv.field_size_limit(LINE_BYTES_MAX)
        rows = csv.reader(text, delimiter=self._delimiter, skipinitialspace=True)
        try:
            header = [name.strip() for name in next(rows, [])]
            _require_header(header)
            places = self._places(header)
            ids = ContentIds()
            while True:
                try:
                    row = next(rows, None)
                except csv.Error as error:
                    yield Refused(rows.line_num, Refusal(RefusalReason.INVALID, f"is no CSV: {error}"))
                    continue
                if row is None:
                    return
                if row:
                    yield self._event(rows.line_num, row, len(header), places, shift_ms, ids)
        finally:
            # The file is the caller's to close.
            text.detach()

    def _places(self, header: list[str]) -> list[tuple[str, int]]:
        for name, column in self._mapping.columns.items():
            if column not in header:
                raise UsageError(f"there is no column {column!r} for {name}: the header has {', '.join(header)[:500]}.")
            if header.count(column) > 1:
                raise UsageError(f"the header has {column!r} more than once: rename one of them.")
        return [(name, header.index(column)) for name, column in self._mapping.columns.items()]

    def _event(
        self, line: int, row: list[str], width: int, places: list[tuple[str, int]], shift_ms: int, ids: ContentIds
    ) -> Accepted | Refused:
        if len(row) != width:
            return Refused(line, Refusal(RefusalReason.INVALID, f"has {len(row)} columns where the header has {width}"))
        cells = dict(self._mapping.constants)
        for name, place in places:
            # A file that went through another system has other ends of lines, in quoted cells too.
            if cell := row[place].strip().replace("\r\n", "\n"):
                cells[name] = cell
        time = cells.pop("time", "")
        event_id = cells.pop("id", "")
        subject = cells.pop("subject", None)
        source = cells.pop("source", self._source)
        try:
            data = _data(cells)
            time_ms = _time_ms(time)
            moved = shifted(time_ms, shift_ms)
            envelope = {
                "specversion": SPEC_VERSION,
                "type": EntryType.USAGE,
                "source": source,
                "id": event_id,
                "subject": subject,
                "time": moved,
                "data": data,
            }
            # The time as it is written in the file is part of the content: a shift does not change the id.
            return identified(line, envelope, exact_instant(time_ms, time), ids)
        except UnicodeEncodeError:
            return Refused(line, Refusal(RefusalReason.INVALID_UTF8, "is not UTF-8"))
        except _CellError as error:
            return Refused(line, error.refusal)
        except ValueError as error:
            return Refused(line, Refusal(RefusalReason.INVALID_TIME, f"time: {error}"))


def _require_header(header: list[str]) -> None:
    """UsageError where the first row shows that the file is none that can be read."""
    first = header[0] if header else ""
    require_utf8(",".join(header).encode("utf-8", "surrogateescape"))
    if first.lower().startswith("sep="):
        separator = first[4:5] or "the separator that it names"
        raise UsageError(
            f"the file begins with a line `sep=` of Excel: remove that line, and say --delimiter '{separator}' "
            "unless it is a comma."
        )


class _CellError(ValueError):
    def __init__(self, reason: RefusalReason, text: str) -> None:
        super().__init__(text)
        self.refusal = Refusal(reason, text)


def _data(cells: dict[str, str]) -> dict[str, Any]:
    """The cells by field as the event's `data`, each in its type: whole usage as integers, other usage as text."""
    data: dict[str, Any] = {"usage": {}}
    for name, cell in cells.items():
        group, dot, key = name.partition(".")
        if dot:
            data.setdefault(group, {})[key] = _amount(name, cell) if group == "usage" else cell
        elif name == "latency_ms":
            data[name] = _latency(cell)
        elif name == "billed":
            if cell.lower() not in _BOOLEANS:
                raise _CellError(RefusalReason.WRONG_TYPE, "data.billed: must be true or false")
            data[name] = _BOOLEANS[cell.lower()]
        elif name == "retail_tokens":
            data[name] = _amount(name, cell)
        elif name == "cost_usd":
            data[name] = str(_amount(name, cell))
        else:
            data[name] = cell
    return data


def _amount(name: str, cell: str) -> int | str:
    try:
        group, _, dimension = name.partition(".")
        return plain_amount(dimension, cell) if group == "usage" else plain_number(cell)
    except NumberError as error:
        raise _CellError(RefusalReason.INVALID, f"data.{name}: {error}") from None


def _latency(cell: str) -> int | str:
    """Milliseconds; a fraction of one is cut off."""
    number = _amount("latency_ms", cell)
    whole, point, fraction = number.partition(".") if isinstance(number, str) else ("", "", "")
    return int(whole) if point and whole.isdecimal() and fraction.isdecimal() else number


def _time_ms(text: str) -> int:
    if not text:
        raise ValueError("is empty")
    try:
        # The offset, if there is one, is the last character or the last six.
        aware = text[-1] in "Zz" or (len(text) > 19 and text[-6] in "+-")
        return parse_event_time(text if aware else f"{text}Z")
    except ValueError:
        if text[4:5] != "-":
            raise
    # Dates alone, and times without seconds.
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        # Python's own error quotes the text.
        raise ValueError("must be RFC 3339, for example 2026-11-21T10:00:00Z, or without offset for UTC") from None
    return to_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
