"""A broker that asks for certificates on one listener and for bearer tokens on another, and what gives them."""

import asyncio
import json
import ssl
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme
from cryptography.hazmat.primitives import serialization as pem

from tollgate.embedded.children import start_child, stop_child, wait_for
from tollgate.embedded.kafka import BrokerAddress, is_ready, java_environment, prepare
from tollgate.embedded.ports import HOST, accepts_connections, free_ports

KEY_PASSWORD = "für den Schlüssel"
CLIENT, SECRET = "tollgate:worker", "s3cret%/:"


@dataclass(frozen=True)
class Certificates:
    """Files in PEM: whom to trust, and a client's certificate with its encrypted key."""

    ca: Path
    client: Path
    client_key: Path
    server: ssl.SSLContext


@dataclass(frozen=True)
class SecureBroker:
    """Addresses of the listeners of one broker."""

    plain: str
    mtls: str
    oauth: str


@dataclass
class TokenEndpoint:
    """An authorisation server that knows one client. `asked` are the forms it was sent with the right secret."""

    url: str
    asked: list[dict[str, list[str]]] = field(default_factory=list)


def pkcs8(key: trustme.Blob, password: str = "") -> bytes:
    """The key in the form that Kafka reads, encrypted where there is a password."""
    how = pem.BestAvailableEncryption(password.encode()) if password else pem.NoEncryption()
    loaded = pem.load_pem_private_key(key.bytes(), None)
    return loaded.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, how)


def unsecured_token(subject: str, seconds: int = 300) -> str:
    """A JSON web token without a signature, which Kafka takes unless it is told whom to trust."""
    now = int(time.time())
    parts = {"alg": "none"}, {"sub": subject, "iat": now, "exp": now + seconds}
    return ".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made for this run alone."""
    directory = tmp_path_factory.mktemp("certificates")
    ca = trustme.CA()
    client, server = ca.issue_cert("worker@example.org"), ca.issue_cert(HOST, "localhost")
    found = Certificates(
        directory / "ca.pem",
        directory / "client.pem",
        directory / "client-key.pem",
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
    )
    ca.cert_pem.write_to_path(str(found.ca))
    found.client.write_bytes(b"".join(blob.bytes() for blob in client.cert_chain_pems))
    found.client_key.write_bytes(pkcs8(client.private_key_pem, KEY_PASSWORD))
    (directory / "server.pem").write_bytes(
        pkcs8(server.private_key_pem) + b"".join(blob.bytes() for blob in server.cert_chain_pems)
    )
    server.configure_cert(found.server)
    return found


@pytest.fixture(scope="session")
def secure_broker(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    """The embedded broker with two listeners more."""
    directory = tmp_path_factory.mktemp("secure-kafka")
    plain, controller, mtls, oauth = free_ports(4)
    command = prepare(BrokerAddress(directory / "data", plain, controller))
    login = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
    listeners = f"PLAINTEXT://{HOST}:{plain},MTLS://{HOST}:{mtls},OAUTH://{HOST}:{oauth}"
    added = {
        "listeners": f"{listeners},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,MTLS:SSL,OAUTH:SASL_SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificates.ca.parent / "server.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates.ca),
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.oauth.oauthbearer.sasl.jaas.config": f'{login} required unsecuredLoginStringClaim_sub="broker";',
    }
    with (directory / "data" / "server.properties").open("a", encoding="utf-8") as properties:
        # Of two lines with one name, Java takes the last.
        properties.writelines(f"{name}={value}\n" for name, value in added.items())
    log = directory / "broker.log"
    with log.open("wb") as output:
        process = start_child(command, output, java_environment(), directory / "data")
    try:
        ready = wait_for(process, lambda: accepts_connections(oauth) and asyncio.run(is_ready(f"{HOST}:{plain}")), 90)
        assert ready, log.read_text(errors="replace")
        yield SecureBroker(f"{HOST}:{plain}", f"{HOST}:{mtls}", f"{HOST}:{oauth}")
    finally:
        stop_child(process)


@pytest.fixture
def token_endpoint() -> Iterator[TokenEndpoint]:
    """Gives a token for five minutes to the client that knows the secret, and 401 to all others."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            given = b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
            # Both are percent-encoded before they are joined (RFC 6749, 2.3.1).
            is_known = given == "tollgate%3Aworker:s3cret%25%2F%3A"
            if is_known:
                endpoint.asked.append(form)
            body = json.dumps({"access_token": unsecured_token(CLIENT), "expires_in": 300} if is_known else {}).encode()
            self.send_response(200 if is_known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    endpoint = TokenEndpoint(f"http://{HOST}:{server.server_address[1]}/token")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield endpoint
    server.shutdown()
    thread.join()
    server.server_close()
