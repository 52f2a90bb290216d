"""From an HTTP request to a query, by the rules of ClickHouse's HTTP interface. Pure."""

import re
from collections.abc import Mapping
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qsl

from tollgate.embedded.clickhouse_engine import ExternalTable, Query
from tollgate.embedded.clickhouse_sessions import SESSION_SECONDS, SESSION_SECONDS_MAX, SessionChoice
from tollgate.embedded.clickhouse_statement import parse_statement
from tollgate.embedded.errors import QueryError

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
# The engine takes `$` in names too, as its lexer does.
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


def request_parameters(query_string: str) -> dict[str, str]:
    """The parameters in a URL; the last of several with one name holds."""
    return dict(parse_qsl(query_string, keep_blank_values=True))


def form_parts(content_type: str, body: bytes) -> tuple[dict[str, str], dict[str, bytes]]:
    """The parameters, and the files by name, in a `multipart/form-data` body."""
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n" + body
    )
    parameters: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            continue
        if part.get_filename() is not None:
            files[name] = content
        else:
            parameters[name] = content.decode("utf-8", "replace")
    return parameters, files


def build_query(
    parameters: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
    files: Mapping[str, bytes] | None = None,
    *,
    reads_only: bool = False,
) -> Query | None:
    """The query of a request, or None when it brings none. `headers` have lower-case names; `body` is unpacked.

    `files` are external tables; their structure and format are in parameters that begin with their names.

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
    tables = tuple(_external_table(name, data, parameters) for name, data in (files or {}).items())
    of_tables = {f"{table.name}_{what}" for table in tables for what in ("structure", "types", "format")}
    asked_for = headers.get("x-clickhouse-format") or parameters.get("default_format") or "TabSeparated"
    return Query(
        statement,
        output_format=statement.output_format or asked_for,
        database=parameters.get("database") or headers.get("x-clickhouse-database"),
        settings={
            name: value
            for name, value in parameters.items()
            if name not in _RESERVED | of_tables and not name.startswith("param_") and _is_name(name)
        },
        parameters={
            name[6:]: value for name, value in parameters.items() if name.startswith("param_") and _is_name(name)
        },
        tables=tables,
        session=_session(parameters),
        reads_only=reads_only,
        begins_early=parameters.get("wait_end_of_query") == "0",
    )


def _external_table(name: str, data: bytes, parameters: Mapping[str, str]) -> ExternalTable:
    structure = parameters.get(f"{name}_structure", "")
    if not structure:
        types = parameters.get(f"{name}_types", "").split(",")
        structure = ", ".join(f"_{number} {type_}" for number, type_ in enumerate(types, 1))
    data_format = parameters.get(f"{name}_format") or "TabSeparated"
    if not (name.isidentifier() and _is_name(data_format)):
        raise QueryError(
            BAD_REQUEST_PARAMETER,
            f"Code: 408. DB::Exception: {name!r} is no name of an external table. (BAD_REQUEST_PARAMETER)",
        )
    return ExternalTable(name, structure, data_format, data)


def _session(parameters: Mapping[str, str]) -> SessionChoice | None:
    seconds = _session_seconds(parameters.get("session_timeout"))
    name = parameters.get("session_id")
    return SessionChoice(name, seconds, parameters.get("session_check") == "1") if name else None


def _is_name(name: str) -> bool:
    """A setting's or a parameter's name goes into a statement as it is, so anything else is an error."""
    if _NAME.fullmatch(name):
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
