"""How Tollgate reaches ClickHouse: one client from the settings, and the library's errors sorted into ours."""

import ipaddress
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error as DriverError

from tollgate.runtime.settings import Settings
from tollgate.sinks.clickhouse.errors import ADVICE, DATA_ERRORS, RefusedError, UnavailableError

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient

# The longest insert of a full batch takes well under a second, and one of a hundred partitions a few. A busy disk may
# take many times that, and a repeat of the same rows would only add to it; later than that, the connection is lost.
ANSWER_SECONDS_MAX = 120
CONNECT_SECONDS_MAX = 5
# Behind each of these questions a person waits.
ASYNC_CONNECT_SECONDS_MAX = 2


def connect(settings: Settings, *, with_database: bool = True, answer_seconds_max: int = ANSWER_SECONDS_MAX) -> Client:
    """A client of the installation's database (or of none, for creating it). Blocks while it asks the server's version.

    Threads may share it. Raises UnavailableError when ClickHouse cannot be reached, refuses the user, or (with the
    database) has no such database.
    """
    _quieten_libraries()
    try:
        return clickhouse_connect.get_client(
            **_options(settings),
            database=settings.clickhouse_database if with_database else "default",
            connect_timeout=CONNECT_SECONDS_MAX,
            send_receive_timeout=answer_seconds_max,
            # Another client's broken connections are not ours.
            dedicated_pool=True,
        )
    except Exception as error:
        raise unavailable(error) from error


async def connect_async(settings: Settings, *, connections_max: int) -> "AsyncClient":
    """A client for many questions at a time from one event loop, as the console's own user where one is set.

    Nothing is tried twice: who asks decides. A question ends with the task that asks it. Raises UnavailableError.
    Needs aiohttp.
    """
    _quieten_libraries()
    options = _options(settings)
    if settings.console_clickhouse_user is not None:
        options |= {
            "username": settings.console_clickhouse_user,
            "password": settings.console_clickhouse_password.get_secret_value(),
        }
    try:
        return await clickhouse_connect.get_async_client(
            **options,
            database=settings.clickhouse_database,
            connect_timeout=ASYNC_CONNECT_SECONDS_MAX,
            connector_limit=connections_max,
            connector_limit_per_host=connections_max,
            query_retries=0,
        )
    except Exception as error:
        raise unavailable(error) from error


def _options(settings: Settings) -> dict[str, Any]:
    """What both kinds of clients are given."""
    url = urlsplit(settings.clickhouse_url)
    return {
        "interface": url.scheme,
        "host": url.hostname,
        "port": url.port,
        "username": unquote(url.username) if url.username else settings.clickhouse_user,
        "password": unquote(url.password) if url.password else settings.clickhouse_password.get_secret_value(),
        "ca_cert": str(settings.clickhouse_cafile) if settings.clickhouse_cafile is not None else None,
        "compress": False if is_loopback(url) else "lz4",
        "client_name": "tollgate",
        # A session would forbid parallel requests.
        "autogenerate_session_id": False,
        # Instants come back in UTC with their zone.
        "tz_mode": "aware",
    }


def is_loopback(url: SplitResult) -> bool:
    """Whether the server is on this machine, where compression costs more than it saves."""
    host = url.hostname or "localhost"
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def sorted_error(error: Exception) -> RefusedError | UnavailableError:
    """The library's error as ours: about the rows, or about the server."""
    code = error.code if isinstance(error, DriverError) else None
    if code in DATA_ERRORS:
        return RefusedError(code, DATA_ERRORS[code])
    return unavailable(error)


def unavailable(error: Exception) -> UnavailableError:
    """Why the server cannot serve now, without the request's address or content."""
    if isinstance(error, DriverError) and error.code is not None:
        name = f" ({error.name})" if error.name else ""
        advice = f": {ADVICE[error.code]}" if error.code in ADVICE else ""
        return UnavailableError(f"ClickHouse answered with code {error.code}{name}{advice}", error.code, error.name)
    text = str(error)
    if text.startswith("HTTP driver received HTTP status"):
        return UnavailableError(f"ClickHouse's address answered with {text[21:36]}")
    return UnavailableError(f"ClickHouse cannot be reached: {_innermost(error)}")


def _innermost(error: BaseException) -> str:
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        reason = getattr(error, "reason", None)
        inner = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
        if inner is None:
            break
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def _quieten_libraries() -> None:
    # Both log every failed attempt with the whole address; our own line says what is down and when it is tried again.
    for name in ("clickhouse_connect", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
