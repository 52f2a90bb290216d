"""Errors between the sink and ClickHouse.

    SinkError
    ├── UnavailableError   not now: try the same again later
    ├── QueryRefusedError  a person's question, which ClickHouse does not take
    ├── RefusedError       these rows, never: ClickHouse cannot read them
    └── MigrationError     the database and the migrations disagree; a person must look

No text of these errors holds a row: ClickHouse quotes the input in its messages, so only its code and name are kept.
"""

from typing import Final


class SinkError(Exception):
    """Anything that the ClickHouse sink raises on purpose."""


class UnavailableError(SinkError):
    """ClickHouse cannot be reached or cannot take rows now. May be retried.

    `unclear` is true for a code that we know neither as the server's state nor as a fault of the rows.
    """

    def __init__(self, reason: str, code: int | None = None, name: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.name = name

    @property
    def unclear(self) -> bool:
        """Whether the rows may be at fault after all."""
        return self.code is not None and self.code not in SERVER_STATES


class RefusedError(SinkError):
    """ClickHouse read the rows and refused them for what is in them. Retrying the same rows is useless."""

    def __init__(self, code: int, name: str) -> None:
        super().__init__(f"ClickHouse refused it with code {code} ({name})")
        self.code = code
        self.name = name


class QueryRefusedError(SinkError):
    """ClickHouse does not take a person's question. The text is ClickHouse's own and may quote the question."""


class MigrationError(SinkError):
    """A migration that was applied has changed since, or a statement of one failed."""


# The errors that name the data rather than the server, by ClickHouse's ErrorCodes.cpp and by inserting damaged rows.
DATA_ERRORS: Final = {
    6: "CANNOT_PARSE_TEXT",
    7: "INCORRECT_NUMBER_OF_COLUMNS",
    25: "CANNOT_PARSE_ESCAPE_SEQUENCE",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    32: "ATTEMPT_TO_READ_AFTER_EOF",
    33: "CANNOT_READ_ALL_DATA",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    53: "TYPE_MISMATCH",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    128: "TOO_LARGE_ARRAY_SIZE",
    130: "CANNOT_READ_ARRAY_FROM_TEXT",
    131: "TOO_LARGE_STRING_SIZE",
    190: "SIZES_OF_ARRAYS_DONT_MATCH",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    407: "DECIMAL_OVERFLOW",
    467: "CANNOT_PARSE_BOOL",
    469: "VIOLATED_CONSTRAINT",
    563: "CANNOT_READ_MAP_FROM_TEXT",
    632: "UNEXPECTED_DATA_AFTER_PARSED_VALUE",
}

# The errors that name the server's state: rows are never given up for one of these.
SERVER_STATES: Final = frozenset(
    {
        23,  # CANNOT_READ_FROM_ISTREAM
        74,  # CANNOT_READ_FROM_FILE_DESCRIPTOR
        75,  # CANNOT_WRITE_TO_FILE_DESCRIPTOR
        76,  # CANNOT_OPEN_FILE
        60,  # UNKNOWN_TABLE
        81,  # UNKNOWN_DATABASE
        159,  # TIMEOUT_EXCEEDED
        164,  # READONLY
        194,  # REQUIRED_PASSWORD
        201,  # QUOTA_EXCEEDED
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        236,  # ABORTED
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        319,  # UNKNOWN_STATUS_OF_INSERT
        394,  # QUERY_WAS_CANCELLED
        439,  # CANNOT_SCHEDULE_TASK
        497,  # ACCESS_DENIED
        516,  # AUTHENTICATION_FAILED
        999,  # KEEPER_EXCEPTION
    }
)

# What an operator can do about the commonest states of a server, for the log line.
ADVICE: Final = {
    60: "a table is missing: run `tollgate clickhouse migrate`",
    81: "the database is missing: run `tollgate clickhouse migrate`",
    194: "ClickHouse wants a password: set TOLLGATE_CLICKHOUSE_PASSWORD",
    241: "ClickHouse is out of memory",
    243: "ClickHouse has no disk space left",
    252: "ClickHouse has too many parts and must merge first",
    497: "the user may not insert: check its grants",
    516: "ClickHouse refuses user or password",
}
