"""Status and headers of an answer, by the tables of ClickHouse's HTTP interface. Pure."""

import json

from tollgate.embedded.clickhouse_engine import Query
from tollgate.embedded.clickhouse_results import Result
from tollgate.embedded.errors import QueryError

# ClickHouse's table from exception code to HTTP status (exceptionCodeToHTTPStatus.cpp); everything else is 500.
_STATUS_BY_CODE = {
    194: 401,  # REQUIRED_PASSWORD
    **dict.fromkeys((192, 193, 497, 516), 403),  # users, passwords, access
    # Arguments, things that cannot be parsed, syntax, types and values.
    **dict.fromkeys((6, 15, 16, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376), 400),
    **dict.fromkeys((408, 427, 441, 456, 457, 675, 676), 400),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 372), 404),  # unknown names
    159: 408,  # TIMEOUT_EXCEEDED
    229: 413,  # QUERY_IS_TOO_LARGE
    307: 413,  # TOO_MANY_BYTES, here: the body
    271: 400,  # CANNOT_DECOMPRESS, here: the body
    344: 400,  # SUPPORT_IS_DISABLED, here: what this server does not take
    48: 501,  # NOT_IMPLEMENTED
    **dict.fromkeys((76, 202, 209, 439), 503),
}

# No type that a browser shows as a page: XML, HTML and all else that is not here are plain text.
_CONTENT_TYPES = {
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwithnames": "text/csv; charset=UTF-8; header=present",
    "csvwithnamesandtypes": "text/csv; charset=UTF-8; header=present",
    "json": "application/json; charset=UTF-8",
    "jsoncompact": "application/json; charset=UTF-8",
    "jsonstrings": "application/json; charset=UTF-8",
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
    "tabseparated": "text/tab-separated-values; charset=UTF-8",
    "tabseparatedwithnames": "text/tab-separated-values; charset=UTF-8",
    "tabseparatedwithnamesandtypes": "text/tab-separated-values; charset=UTF-8",
    "tsv": "text/tab-separated-values; charset=UTF-8",
    "tsvwithnames": "text/tab-separated-values; charset=UTF-8",
    "native": "application/octet-stream",
    "rowbinary": "application/octet-stream",
    "parquet": "application/octet-stream",
    "arrow": "application/octet-stream",
    "arrowstream": "application/octet-stream",
}


def status_of(error: QueryError) -> int:
    """The HTTP status that ClickHouse gives to an exception."""
    return _STATUS_BY_CODE.get(error.code, 500)


def exception_block(error: QueryError, tag: str) -> bytes:
    """An error in the midst of an answer, as ClickHouse ends that answer; `tag` was in the answer's head."""
    text = f"{error}\n".encode("utf-8", "replace")
    mark = tag.encode()
    return b"\r\n__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n" % (mark, text, len(text), mark)


def result_headers(query: Query, result: Result) -> dict[str, str]:
    """Counters, where they are known before the answer leaves, format and type."""
    counters = result.counters
    summary = {
        "read_rows": counters.read_rows,
        "read_bytes": counters.read_bytes,
        "written_rows": counters.written_rows,
        "written_bytes": counters.written_bytes,
        "total_rows_to_read": counters.read_rows,
        "result_rows": counters.result_rows or counters.written_rows,
        "result_bytes": len(result.first) or counters.written_bytes,
        "elapsed_ns": counters.elapsed_ns,
    }
    headers: dict[str, str] = {}
    if result.rest is None:
        headers["X-ClickHouse-Summary"] = json.dumps({name: str(value) for name, value in summary.items()})
    if query.statement.has_result:
        # Clients tell by this header that a statement has a result, be it empty.
        headers["X-ClickHouse-Format"] = "".join(c for c in query.output_format if c.isalnum())
        headers["Content-Type"] = _CONTENT_TYPES.get(query.output_format.lower(), "text/plain; charset=UTF-8")
    return headers
