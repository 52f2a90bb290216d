"""A ClickHouse behind TLS with an authority of the company's own."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest
from tests.integration.security.conftest import Certificates

from tollgate.embedded.ports import HOST
from tollgate.runtime.settings import Settings
from tollgate.sinks.clickhouse import connect
from tollgate.sinks.clickhouse.errors import UnavailableError

pytestmark = pytest.mark.integration


@asynccontextmanager
async def behind_tls(url: str, certificates: Certificates) -> AsyncIterator[str]:
    """The address of a listener that ends TLS and passes everything on, under the server's own name."""
    server = urlsplit(url)
    names: dict[bytes, bytes] = {}

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(1 << 16):
                for outer, own in names.items():
                    data = data.replace(outer, own)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, before = await asyncio.open_connection(server.hostname, server.port)
        await asyncio.gather(pass_on(reader, before), pass_on(behind, writer))

    listener = await asyncio.start_server(accept, HOST, 0, ssl=certificates.server)
    address = f"{HOST}:{listener.sockets[0].getsockname()[1]}"
    names[f"Host: {address}".encode()] = f"Host: {server.netloc}".encode()
    async with listener:
        yield f"https://{address}"


async def test_only_whoever_names_the_authority_trusts_its_clickhouse(
    clickhouse: str, certificates: Certificates
) -> None:
    async with behind_tls(clickhouse, certificates) as url:
        trusting = Settings.model_validate({"clickhouse_url": url, "clickhouse_cafile": certificates.ca})
        client = await asyncio.to_thread(connect, trusting, with_database=False)
        assert await asyncio.to_thread(client.command, "SELECT 7") == 7
        await asyncio.to_thread(client.close)
        with pytest.raises(UnavailableError):
            await asyncio.to_thread(connect, Settings.model_validate({"clickhouse_url": url}), with_database=False)
