"""From an HTTP request to a query, by the rules of ClickHouse's HTTP interface. Pure."""

from collections.abc import Mapping
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qsl

from tollgate.embedded.clickhouse_engine import SESSION_SECONDS, SESSION_SECONDS_MAX, Query
from tollgate.embedded.clickhouse_statement import parse_statement
from tollgate.embedded.errors import QueryError

READONLY = 164
NOT_IMPLEMENTED = 48
INVALID_SESSION_TIMEOUT = 374
BAD_REQUEST_PARAMETER = 408

# Parameters of a request that are no settings of the query.
_RESERVED = frozenset(
    {
        *("query", "database", "user", "password", "quota_key", "query_id", "role", "default_format"),
        *("session_id", "session_timeout", "session_check", "close_session", "compress", "decompress"),
        *("buffer_size", "wait_end_of_query", "client_protocol_version", "stacktrace"),
        *("enable_http_compression", "http_zlib_compression_level", "send_progress_in_http_headers"),
        *("http_headers_progress_interval_ms", "cancel_http_readonly_queries_on_client_close"),
    }
)
_READING_VERBS = frozenset({"SELECT", "WITH", "FROM", "SHOW", "DESC", "DESCRIBE", "EXISTS", "EXPLAIN", "SET", "USE"})
_MAY_MODIFY = "For queries over HTTP, method GET implies readonly. You should use method POST for modifying queries."


def request_parameters(query_string: str) -> dict[str, str]:
    """The parameters in a URL; the last of several with one name holds."""
    return dict(parse_qsl(query_string, keep_blank_values=True))


def form_parameters(content_type: str, body: bytes) -> dict[str, str]:
    """The parameters in a `multipart/form-data` body. Raises QueryError when it brings a file: no external tables."""
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n" + body
    )
    found: dict[str, str] = {}
    for part in message.iter_parts():
        if part.get_filename() is not None:
            raise QueryError(
                NOT_IMPLEMENTED,
                "Code: 48. DB::Exception: The embedded server takes no external tables. (NOT_IMPLEMENTED)",
            )
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            found[name] = content.decode("utf-8", "replace")
    return found


def build_query(method: str, parameters: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Query | None:
    """The query of a request, or None when it brings none. `headers` have lower-case names; `body` is unpacked.

    The query may be in the URL, in the body, or begin in the URL and go on, after a line end, in the body.
    Raises QueryError.
    """
    for name in ("compress", "decompress"):
        if parameters.get(name, "0") not in ("", "0", "false"):
            raise QueryError(
                NOT_IMPLEMENTED,
                f"Code: 48. DB::Exception: The embedded server does not take {name}=1: use Content-Encoding and "
                "Accept-Encoding instead. (NOT_IMPLEMENTED)",
            )
    in_url = parameters.get("query", "").encode()
    text = in_url + b"\n" + body if in_url and body else in_url or body
    if not text:
        return None
    statement = parse_statement(text)
    if method == "GET" and statement.verb not in _READING_VERBS:
        raise QueryError(
            READONLY, f"Code: 164. DB::Exception: Cannot execute query in readonly mode. {_MAY_MODIFY} (READONLY)"
        )
    asked_for = headers.get("x-clickhouse-format") or parameters.get("default_format") or "TabSeparated"
    return Query(
        statement,
        output_format=statement.output_format or asked_for,
        database=parameters.get("database") or headers.get("x-clickhouse-database"),
        settings={
            name: value
            for name, value in parameters.items()
            if name not in _RESERVED and not name.startswith("param_") and _is_name(name)
        },
        parameters={
            name[6:]: value for name, value in parameters.items() if name.startswith("param_") and _is_name(name)
        },
        session=parameters.get("session_id") or None,
        session_seconds=_session_seconds(parameters.get("session_timeout")),
        session_must_exist=parameters.get("session_check") == "1",
    )


def _is_name(name: str) -> bool:
    """A setting's or a parameter's name goes into a statement as it is, so anything else is an error."""
    if name.isascii() and name.isidentifier():
        return True
    raise QueryError(
        BAD_REQUEST_PARAMETER, f"Code: 408. DB::Exception: {name!r} is no name of a setting. (BAD_REQUEST_PARAMETER)"
    )


def _session_seconds(given: str | None) -> int:
    if not given:
        return SESSION_SECONDS
    if not (given.isascii() and given.isdigit() and int(given) <= SESSION_SECONDS_MAX):
        raise QueryError(
            INVALID_SESSION_TIMEOUT,
            f"Code: 374. DB::Exception: Invalid session timeout: {given!r}, at most {SESSION_SECONDS_MAX}. "
            "(INVALID_SESSION_TIMEOUT)",
        )
    return int(given)
