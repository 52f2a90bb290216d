"""Every setting of every Tollgate process, read once from `TOLLGATE_*` variables or a TOML file.

A secret may be given as a file instead: `TOLLGATE_SLACK_BOT_TOKEN_FILE=/run/secrets/slack` sets
`TOLLGATE_SLACK_BOT_TOKEN` to the file's content without surrounding white space.
"""

import os
import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from tollgate.schemas.topics import DELTA_PARTITIONS, LANES, USAGE_PARTITIONS, Topic, topic_name

PREFIX = "TOLLGATE_"
# RFC 7518, 3.2: a key of HS256 has at least as many bits as the hash.
JWT_SECRET_CHARS_MIN = 32
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-fA-F:]+\](:[0-9]{1,5})?")


class Settings(BaseSettings):
    """One field per setting; the variable is the field's name in capitals after `TOLLGATE_`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True)

    kafka_bootstrap_servers: str = Field("127.0.0.1:9092", description="Kafka brokers, `host:port` separated by commas")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "PLAIN"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_oauth_token_url: str | None = Field(
        None, pattern=r"^https?://", description="token endpoint for OAUTHBEARER, with the client's id and secret"
    )
    kafka_oauth_client_id: str | None = None
    kafka_oauth_client_secret: SecretStr | None = None
    kafka_oauth_scope: str | None = None
    kafka_oauth_token_file: Path | None = Field(
        None, description="file with the token for OAUTHBEARER, read at each connection, instead of an endpoint"
    )
    kafka_ssl_cafile: Path | None = Field(None, description="PEM file of the authorities that Kafka is trusted by")
    kafka_ssl_certfile: Path | None = Field(None, description="PEM file of this client's certificate and its chain")
    kafka_ssl_keyfile: Path | None = Field(None, description="PEM file of its key, where that is a file of its own")
    kafka_ssl_key_password: SecretStr | None = None
    kafka_replication_factor: int = Field(1, ge=1, description="replication factor of topics that Tollgate creates")
    topic_prefix: str = Field("tollgate.", description="prefix of every topic, its final dot included")
    usage_partitions: int = Field(
        # Readers of flags and spend rely on shared scopes having no more partitions than users.
        USAGE_PARTITIONS,
        ge=DELTA_PARTITIONS,
        le=1024,
        description="partitions of the usage topic; fixed once it holds events",
    )
    lanes: int = Field(
        LANES,
        ge=1,
        le=1024,
        description="groups of usage partitions that share transactions; at most this many workers count users",
    )
    event_age_days_max: int | None = Field(
        None, ge=1, description="events older than this are refused as `too_old`; without it all are counted"
    )
    core: Literal["auto", "compiled", "python"] = Field(
        "auto", description="which code counts usage events; `auto` takes the compiled core where it was built"
    )
    application: str = Field("tollgate", description="consumer groups and transactional ids start with this name")

    clickhouse_url: str = Field(
        "http://127.0.0.1:8123", description="ClickHouse's HTTP interface; user and password may be in it"
    )
    clickhouse_database: str = Field("tollgate", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    clickhouse_user: str = "default"
    clickhouse_password: SecretStr = SecretStr("")
    clickhouse_cafile: Path | None = Field(
        None, description="PEM file of the authorities that ClickHouse is trusted by, for https://"
    )

    console_clickhouse_user: str | None = Field(
        None, description="user of ClickHouse that may only read, for the console; else `clickhouse_user`"
    )
    console_clickhouse_password: SecretStr = SecretStr("")

    slack_bot_token: SecretStr | None = Field(None, description="without it alerts are printed as text")
    slack_channel: str | None = None
    slack_api_url: str = "https://slack.com/api/"
    slack_webhook_url: SecretStr | None = None
    alerts_digest_over: int = Field(
        20, ge=0, description="more new alerts than this waiting for Slack are told in one message; 0 never does that"
    )

    price_book: str = Field("default", description="named price book: `default` or `oct-2025`")
    data_dir: Path = Field(Path(".tollgate"), description="where the embedded stack keeps its data and logs")
    console_url: str = Field(
        "", pattern=r"^(https?://.+)?$", description="address under which people reach the console, for links to it"
    )
    console_host: str = Field("127.0.0.1", description="address on which the console serves the API and the pages")
    console_port: int = Field(8080, ge=0, le=65535, description="port of the console; 0 picks a free one")
    console_hosts: str = Field(
        "",
        description="names under which people reach the console, separated by commas; loopback names and "
        "TOLLGATE_CONSOLE_HOST are always accepted",
    )
    console_trusted_proxies: str = Field(
        "", description="addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed"
    )
    console_secure_cookies: Literal["auto", "always", "never"] = Field(
        "auto", description="whether browsers reach the console over TLS; `auto` believes the trusted proxies"
    )
    console_cors_origins: str = Field(
        "", description="origins whose scripts may call the API with a bearer token, separated by commas"
    )
    console_frame_ancestors: str = Field(
        "", description="origins that may show /me in a frame with a signed token, separated by commas"
    )
    console_session_hours: int = Field(12, ge=1, le=720, description="how long a login holds")
    console_requests_per_minute: int = Field(100, ge=1, description="requests a minute of one token, in one process")
    console_service_requests_per_minute: int = Field(
        6000, ge=1, description="requests a minute of one token of the role `service`, in one process"
    )
    console_connections_max: int = Field(
        500, ge=10, description="open connections of one process; of more the one that is idle the longest is closed"
    )
    jwt_jwks_url: str | None = Field(
        None, pattern=r"^https?://", description="where the identity provider publishes the keys that sign its JWTs"
    )
    jwt_secret: SecretStr | None = Field(
        None, min_length=JWT_SECRET_CHARS_MIN, description="secret shared with whoever signs JWTs with HS256 to HS512"
    )
    jwt_issuer: str = Field("", description="the `iss` that a JWT must have; required with TOLLGATE_JWT_JWKS_URL")
    jwt_audience: str = Field("", description="the `aud` that a JWT must have; required with TOLLGATE_JWT_JWKS_URL")
    jwt_role_claim: str = Field("role", min_length=1, description="claim with the role or roles, may be `a.b`")
    jwt_user_claim: str = Field("sub", min_length=1, description="claim with the user's id")
    jwt_org_claim: str = Field("org", min_length=1, description="claim with the org; without it the whole company")
    jwt_roles: str = Field("", description="names of roles in the claim: `admin=billing-admins,viewer=staff|finance`")
    worker_host: str = Field("127.0.0.1", description="address on which the worker serves /live, /ready and /metrics")
    worker_port: int = Field(0, ge=0, le=65535, description="port of /live, /ready and /metrics; 0 picks a free one")
    sink_port: int = Field(0, ge=0, le=65535, description="port of the ClickHouse sink's /metrics; 0 serves none")
    worker_id: str = Field("worker-0", description="unique and stable name of this worker in the group")
    fault_points: str = Field("", description="for tests: where a worker kills itself, see `tollgate.ledger.faults`")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "text"

    @model_validator(mode="after")
    def _security_is_complete(self) -> Self:
        if (self.kafka_ssl_keyfile or self.kafka_ssl_key_password) and self.kafka_ssl_certfile is None:
            raise ValueError("TOLLGATE_KAFKA_SSL_KEYFILE and _KEY_PASSWORD need TOLLGATE_KAFKA_SSL_CERTFILE")
        if self.kafka_security_protocol.startswith("SASL") and self.kafka_sasl_mechanism == "OAUTHBEARER":
            client = self.kafka_oauth_token_url and self.kafka_oauth_client_id and self.kafka_oauth_client_secret
            if not client and self.kafka_oauth_token_file is None:
                raise ValueError(
                    "OAUTHBEARER needs TOLLGATE_KAFKA_OAUTH_TOKEN_FILE, or TOLLGATE_KAFKA_OAUTH_TOKEN_URL with "
                    "_CLIENT_ID and _CLIENT_SECRET"
                )
        return self

    @model_validator(mode="after")
    def _issuer_is_known(self) -> Self:
        if self.jwt_jwks_url and not (self.jwt_issuer and self.jwt_audience):
            # Else a token that the provider made for any other program would open the console.
            raise ValueError("TOLLGATE_JWT_JWKS_URL needs TOLLGATE_JWT_ISSUER and TOLLGATE_JWT_AUDIENCE")
        return self

    @field_validator("console_trusted_proxies")
    @classmethod
    def _networks(cls, text: str) -> str:
        for word in filter(None, (part.strip() for part in text.split(","))):
            ip_network(word, strict=False)
        return text

    @field_validator("console_cors_origins", "console_frame_ancestors")
    @classmethod
    def _origins(cls, text: str) -> str:
        for word in filter(None, (part.strip() for part in text.split(","))):
            if not _ORIGIN.fullmatch(word):
                raise ValueError(f"{word[:64]!r} is no origin such as https://app.example.com")
        return text

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 # pydantic-settings' signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 # pydantic-settings' signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        toml = os.environ.get(f"{PREFIX}CONFIG")
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        if toml:
            sources.append(TomlConfigSettingsSource(settings_cls, Path(toml)))
        return tuple(sources)

    def topic(self, topic: Topic) -> str:
        """The topic's full name under this installation's prefix."""
        return topic_name(topic, self.topic_prefix)


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment, `…_FILE` secrets and the TOML file named by `TOLLGATE_CONFIG`; overrides win.

    Raises pydantic's ValidationError, whose text names the setting, and OSError when a secret's file cannot be read.
    """
    return Settings(**(_secrets_from_files(os.environ) | overrides))


def _secrets_from_files(environ: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in Settings.model_fields:
        path = environ.get(f"{PREFIX}{name.upper()}_FILE")
        if path:
            found[name] = Path(path).read_text(encoding="utf-8").strip()
    return found
