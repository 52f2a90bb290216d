"""One question to ClickHouse, and its answer as bytes in the format that the question asks for."""

import codecs
import io
from collections.abc import Iterator

from clickhouse_connect.driver.exceptions import Error as DriverError

from tollgate.runtime.settings import Settings
from tollgate.sinks.clickhouse.connection import connect, unavailable
from tollgate.sinks.clickhouse.errors import QueryRefusedError

# A question over all history may take its time.
ANSWER_SECONDS_MAX = 3600
_CHUNK_BYTES = 64 * 1024


def ask(settings: Settings, sql: str) -> Iterator[bytes]:
    """The answer in pieces that end between characters. A table for reading when the question names no format.

    Blocks. Raises UnavailableError, and QueryRefusedError when ClickHouse does not take the question.
    """
    client = connect(settings, answer_seconds_max=ANSWER_SECONDS_MAX)
    try:
        answer = client.raw_stream(sql, transport_settings={"X-ClickHouse-Format": "PrettyCompactMonoBlock"})
        assert isinstance(answer, io.IOBase)
        split = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        while part := answer.read(_CHUNK_BYTES):
            yield split.decode(part).encode("utf-8", "surrogateescape")
        yield split.decode(b"", final=True).encode("utf-8", "surrogateescape")
    except DriverError as error:
        if error.code is None:
            raise unavailable(error) from error
        raise QueryRefusedError(str(error).partition("\n")[0]) from error
    finally:
        client.close()
