"""Settings that belong together are refused where one is missing, and never shown."""

import pytest
from pydantic import ValidationError

from tollgate.runtime.settings import Settings, load_settings

OAUTH = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER"}
CLIENT = {"kafka_oauth_token_url": "https://id.example.org/token", "kafka_oauth_client_id": "worker"}


def test_bearer_tokens_come_from_a_file_or_an_endpoint() -> None:
    for given in ({}, CLIENT, {"kafka_oauth_client_id": "worker", "kafka_oauth_client_secret": "s"}):
        with pytest.raises(ValidationError, match="OAUTHBEARER needs"):
            Settings.model_validate(OAUTH | given)
    assert Settings.model_validate(OAUTH | CLIENT | {"kafka_oauth_client_secret": "s"})
    assert Settings.model_validate(OAUTH | {"kafka_oauth_token_file": "/run/token"})
    with pytest.raises(ValidationError):
        Settings.model_validate({"kafka_oauth_token_url": "file:///etc/passwd"})


def test_a_key_needs_its_certificate() -> None:
    with pytest.raises(ValidationError, match="need TOLLGATE_KAFKA_SSL_CERTFILE"):
        Settings.model_validate({"kafka_ssl_keyfile": "/k.pem"})
    assert Settings.model_validate({"kafka_ssl_keyfile": "/k.pem", "kafka_ssl_certfile": "/c.pem"})


def test_a_refusal_does_not_show_the_secrets_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLGATE_KAFKA_OAUTH_CLIENT_SECRET", "hunter2")
    with pytest.raises(ValidationError) as refused:
        load_settings(**OAUTH)
    assert "hunter2" not in str(refused.value)
