"""What the console and the command line ask ClickHouse. See README.md."""

from tollgate.console.numbers.answers import Card, CountedEvent, Page, Series, Share, Shares, Sum, UserNumbers
from tollgate.console.numbers.errors import BadQuestionError, NumbersError, TooLargeError, UnavailableError
from tollgate.console.numbers.events import EventFilter
from tollgate.console.numbers.history import AlertRevision, AuditRow, FlagRevision, LetterRow
from tollgate.console.numbers.numbers import Numbers
from tollgate.console.numbers.ranges import Range
from tollgate.console.numbers.reports import ReportKey, ReportRow, ReportStart, file_name, report_keys
from tollgate.console.numbers.restriction import EVERYTHING, Restriction
from tollgate.console.numbers.spends import Near, SpendKey
from tollgate.console.numbers.tables import ReportFormat

__all__ = [
    "EVERYTHING",
    "AlertRevision",
    "AuditRow",
    "BadQuestionError",
    "Card",
    "CountedEvent",
    "EventFilter",
    "FlagRevision",
    "LetterRow",
    "Near",
    "Numbers",
    "NumbersError",
    "Page",
    "Range",
    "ReportFormat",
    "ReportKey",
    "ReportRow",
    "ReportStart",
    "Restriction",
    "Series",
    "Share",
    "Shares",
    "SpendKey",
    "Sum",
    "TooLargeError",
    "UnavailableError",
    "UserNumbers",
    "file_name",
    "report_keys",
]
