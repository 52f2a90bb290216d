"""Certificates and bearer tokens against real listeners: worker, command line and SDK."""

import asyncio
import ssl
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from tests.integration.ledger.test_worker import counted, events
from tests.integration.security.conftest import (
    CLIENT,
    KEY_PASSWORD,
    SECRET,
    Certificates,
    SecureBroker,
    TokenEndpoint,
    unsecured_token,
)
from tests.support.worker import environment, send, working

from tollgate.runtime.kafka_security import Tokens
from tollgate.runtime.settings import Settings
from tollgate.runtime.topics_admin import apply_topics, delete_topics
from tollgate.sdk import UsagePublisher

pytestmark = pytest.mark.integration


def made(**changes: Any) -> Settings:
    return Settings.model_validate(changes)


def topics_apply(own: dict[str, str]) -> None:
    """The command in this environment; it must end with 0."""
    argv = [sys.executable, "-m", "tollgate.cli.main", "topics", "apply"]
    done = subprocess.run(argv, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def names(secure_broker: SecureBroker, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A prefix and an application of their own; the topics exist."""
    unique = f"t{uuid.uuid4().hex[:10]}"
    own: dict[str, Any] = {"topic_prefix": f"{unique}.", "application": unique, "data_dir": tmp_path / "data"}
    plain = made(kafka_bootstrap_servers=secure_broker.plain, **own)
    asyncio.run(apply_topics(plain))
    yield own
    asyncio.run(delete_topics(plain))


async def test_a_certificate_of_its_own_opens_the_broker_to_worker_command_and_sdk(
    secure_broker: SecureBroker, certificates: Certificates, names: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "password").write_text(f"{KEY_PASSWORD}\n", encoding="utf-8")
    settings = made(
        kafka_bootstrap_servers=secure_broker.mtls,
        kafka_security_protocol="SSL",
        kafka_ssl_cafile=certificates.ca,
        kafka_ssl_certfile=certificates.client,
        kafka_ssl_keyfile=certificates.client_key,
        kafka_ssl_key_password=KEY_PASSWORD,
        **names,
    )
    own = environment(settings, TOLLGATE_KAFKA_SSL_KEY_PASSWORD_FILE=str(tmp_path / "password"))
    del own["TOLLGATE_KAFKA_SSL_KEY_PASSWORD"]
    await asyncio.to_thread(topics_apply, own)
    with working(settings, tmp_path / "worker.log"):
        context = ssl.create_default_context(cafile=certificates.ca)
        context.load_cert_chain(certificates.client, certificates.client_key, KEY_PASSWORD)
        async with UsagePublisher(
            secure_broker.mtls,
            source="tests",
            topic_prefix=settings.topic_prefix,
            security_protocol="SSL",
            ssl_context=context,
        ) as usage:
            await usage.record(user="u1", provider="openai", model="gpt-4o", usage={"input_tokens": 1000})
        await counted(settings, ("0.0025", 1))


async def test_without_a_certificate_the_broker_does_not_answer(
    secure_broker: SecureBroker, certificates: Certificates, names: dict[str, Any]
) -> None:
    settings = made(
        kafka_bootstrap_servers=secure_broker.mtls,
        kafka_security_protocol="SSL",
        kafka_ssl_cafile=certificates.ca,
        **names,
    )
    with pytest.raises(KafkaConnectionError):
        await apply_topics(settings)


@pytest.mark.long
async def test_a_token_of_an_endpoint_opens_the_broker_to_worker_and_command(
    secure_broker: SecureBroker,
    certificates: Certificates,
    token_endpoint: TokenEndpoint,
    names: dict[str, Any],
    tmp_path: Path,
) -> None:
    (tmp_path / "secret").write_text(SECRET, encoding="utf-8")
    settings = made(
        kafka_bootstrap_servers=secure_broker.oauth,
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="OAUTHBEARER",
        kafka_oauth_token_url=token_endpoint.url,
        kafka_oauth_client_id=CLIENT,
        kafka_oauth_client_secret=SECRET,
        kafka_oauth_scope="kafka usage",
        kafka_ssl_cafile=certificates.ca,
        **names,
    )
    own = environment(settings, TOLLGATE_KAFKA_OAUTH_CLIENT_SECRET_FILE=str(tmp_path / "secret"))
    del own["TOLLGATE_KAFKA_OAUTH_CLIENT_SECRET"]
    await asyncio.to_thread(topics_apply, own)
    assert token_endpoint.asked[0] == {"grant_type": ["client_credentials"], "scope": ["kafka usage"]}
    with working(settings, tmp_path / "worker.log"):
        await send(settings, events(10))
        await counted(settings, ("0.035", 10))
    assert SECRET not in (tmp_path / "worker.log").read_text()


async def test_one_token_serves_until_a_fifth_of_its_time_is_left(token_endpoint: TokenEndpoint) -> None:
    tokens = Tokens(
        made(
            kafka_security_protocol="SASL_SSL",
            kafka_sasl_mechanism="OAUTHBEARER",
            kafka_oauth_token_url=token_endpoint.url,
            kafka_oauth_client_id=CLIENT,
            kafka_oauth_client_secret=SECRET,
        )
    )
    assert await tokens.token() == await tokens.token()
    assert len(token_endpoint.asked) == 1
    tokens._until = 0
    await tokens.token()
    assert len(token_endpoint.asked) == 2


async def test_an_endpoint_that_refuses_is_told_without_the_secret(token_endpoint: TokenEndpoint) -> None:
    tokens = Tokens(
        made(
            kafka_security_protocol="SASL_SSL",
            kafka_sasl_mechanism="OAUTHBEARER",
            kafka_oauth_token_url=token_endpoint.url,
            kafka_oauth_client_id=CLIENT,
            kafka_oauth_client_secret="wrong-secret",
        )
    )
    with pytest.raises(KafkaConnectionError, match="gave no token: HTTPError") as refused:
        await tokens.token()
    assert "wrong-secret" not in str(refused.value)


async def test_a_token_in_a_file_may_be_replaced_while_all_runs(
    secure_broker: SecureBroker, certificates: Certificates, names: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    settings = made(
        kafka_bootstrap_servers=secure_broker.oauth,
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="OAUTHBEARER",
        kafka_oauth_token_file=file,
        kafka_ssl_cafile=certificates.ca,
        **names,
    )
    with pytest.raises(KafkaConnectionError):
        await apply_topics(settings)
    file.write_text(f"{unsecured_token('worker')}\n")
    assert (await apply_topics(settings)).ok
