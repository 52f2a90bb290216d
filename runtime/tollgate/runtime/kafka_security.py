"""How a process proves to Kafka who it is: TLS with or without a certificate of its own, passwords, bearer tokens."""

import asyncio
import json
import ssl
import time
from base64 import b64encode
from typing import Any, Final
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from tollgate.runtime.settings import Settings

_ANSWER_SECONDS_MAX: Final = 10
# No token endpoint says more about a token.
_ANSWER_BYTES_MAX: Final = 1 << 20
# A new token is asked for when this part of the old one's time is left.
_LEFT: Final = 0.2


def security_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments of aiokafka's clients. Raises OSError or ssl.SSLError when a certificate cannot be read."""
    options: dict[str, Any] = {"security_protocol": settings.kafka_security_protocol}
    if "SSL" in settings.kafka_security_protocol:
        options["ssl_context"] = _tls(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        if settings.kafka_sasl_mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = Tokens(settings)
        else:
            password = settings.kafka_sasl_password
            options["sasl_plain_username"] = settings.kafka_sasl_username
            options["sasl_plain_password"] = password.get_secret_value() if password else None
    return options


def _tls(settings: Settings) -> ssl.SSLContext:
    cafile = str(settings.kafka_ssl_cafile) if settings.kafka_ssl_cafile else None
    context = ssl.create_default_context(cafile=cafile)
    if settings.kafka_ssl_certfile is not None:
        password = settings.kafka_ssl_key_password
        # Without a password OpenSSL would ask at the terminal for that of a key which has one.
        secret = password.get_secret_value() if password else ""
        context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile, lambda: secret)
    return context


class Tokens(AbstractTokenProvider):  # type: ignore[misc] # aiokafka ships no types
    """Bearer tokens for Kafka: what a file has now, or what a token endpoint gives to a client (RFC 6749, 4.4).

    A token of an endpoint is used until a fifth of its time is left. A file is read at each connection, so that whoever
    writes it may replace the token.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._token = ""
        self._until = 0.0

    async def token(self) -> str:
        """The token to send. KafkaConnectionError, without any secret, when there is none."""
        file = self._settings.kafka_oauth_token_file
        if file is not None:
            try:
                return file.read_text(encoding="ascii").strip()
            except (OSError, ValueError) as error:
                raise KafkaConnectionError(f"no token in {file}: {type(error).__name__}") from None
        if time.monotonic() >= self._until:
            self._token, seconds = await asyncio.to_thread(self._ask)
            self._until = time.monotonic() + seconds * (1 - _LEFT)
        return self._token

    def _ask(self) -> tuple[str, float]:
        settings = self._settings
        url, secret = settings.kafka_oauth_token_url, settings.kafka_oauth_client_secret
        assert url is not None, "the settings were checked"
        assert secret is not None, "the settings were checked"
        form = {"grant_type": "client_credentials"}
        if settings.kafka_oauth_scope:
            form["scope"] = settings.kafka_oauth_scope
        client = ":".join(
            quote(part, safe="") for part in (settings.kafka_oauth_client_id or "", secret.get_secret_value())
        )
        request = Request(  # noqa: S310 # the settings allow http and https alone
            url,
            urlencode(form).encode(),
            {"Authorization": "Basic " + b64encode(client.encode()).decode(), "Accept": "application/json"},
        )
        context = ssl.create_default_context()
        if settings.kafka_ssl_cafile is not None:
            context.load_verify_locations(settings.kafka_ssl_cafile)
        try:
            with urlopen(request, timeout=_ANSWER_SECONDS_MAX, context=context) as answer:  # noqa: S310 # as above
                given = json.loads(answer.read(_ANSWER_BYTES_MAX))
            return str(given["access_token"]), float(given.get("expires_in", 0))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            # The error's text may quote what was sent.
            raise KafkaConnectionError(f"the token endpoint gave no token: {type(error).__name__}") from None
