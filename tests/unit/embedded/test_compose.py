"""`docker-compose.yml` has the structure of the Compose specification, and names only what exists."""

import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tollgate.runtime.settings import PREFIX, Settings
from tollgate.schemas.topics import RECORD_BYTES_MAX, USAGE_PARTITIONS

ROOT = Path(__file__).resolve().parents[3]

STRINGS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
DURATION = {"type": "string", "pattern": r"^\d+(ms|s|m|h)$"}
# The parts of the Compose specification that the file uses; anything else in it is a typing error or needs a look here.
SERVICE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["image"],
    "properties": {
        "image": {
            "type": "string",
            "pattern": r"^(\$\{TOLLGATE_[A-Z]+_IMAGE:-)?[a-z0-9./-]+(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})\}?$",
        },
        "cap_drop": STRINGS,
        "security_opt": STRINGS,
        "read_only": {"type": "boolean"},
        "tmpfs": {"type": "array", "items": {"type": "string", "pattern": r"^/[a-z/]+(:[a-z0-9=,]+)?$"}},
        "user": {"type": "string", "pattern": r"^[1-9]\d*:[1-9]\d*$"},
        "build": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"context": {"type": "string"}, "dockerfile": {"type": "string"}},
        },
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "stop_grace_period": DURATION,
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "secrets": STRINGS,
        "command": STRINGS,
        "entrypoint": STRINGS,
        "expose": STRINGS,
        "ports": {"type": "array", "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"}},
        "volumes": {"type": "array", "items": {"type": "string", "pattern": r"^[a-z-]+:/[a-z/]+$"}},
        "ulimits": {"type": "object"},
        "healthcheck": {
            "type": "object",
            "additionalProperties": False,
            "required": ["test"],
            "properties": {"test": STRINGS, "interval": DURATION, "timeout": DURATION, "retries": {"type": "integer"}},
        },
        "depends_on": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["condition"],
                "properties": {
                    "condition": {"enum": ["service_started", "service_healthy", "service_completed_successfully"]}
                },
            },
        },
        "deploy": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"replicas": {"type": "integer", "minimum": 1}},
        },
    },
}
COMPOSE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["services"],
    "properties": {
        "name": {"type": "string"},
        "services": {"type": "object", "additionalProperties": SERVICE},
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
        "secrets": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["environment"],
                "properties": {"environment": {"type": "string"}},
            },
        },
    },
    "patternProperties": {"^x-": {}},
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file with its anchors resolved."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


def test_the_file_has_the_structure_of_the_specification(compose: dict[str, Any]) -> None:
    jsonschema.validate(compose, COMPOSE)


def test_every_process_of_an_installation_is_a_service(compose: dict[str, Any]) -> None:
    names = ["clickhouse", "console", "kafka", "setup", "sink-alerts", "sink-clickhouse", "worker"]
    assert sorted(compose["services"]) == names
    assert compose["services"]["worker"]["deploy"]["replicas"] <= USAGE_PARTITIONS


def test_every_setting_exists(compose: dict[str, Any]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for service in compose["services"].values():
        given = {name.removesuffix("_FILE") for name in service["environment"] if name.startswith(PREFIX)}
        assert given <= known


def test_what_a_service_refers_to_is_defined(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert set(service.get("depends_on", {})) <= set(compose["services"])
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= set(compose["volumes"])


def test_a_service_that_must_be_healthy_has_a_check(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in compose["services"][name]


def test_the_broker_takes_records_as_large_as_a_topic_may_hold(compose: dict[str, Any]) -> None:
    assert int(compose["services"]["kafka"]["environment"]["KAFKA_MESSAGE_MAX_BYTES"]) > RECORD_BYTES_MAX + 64 * 1024


def test_no_container_has_a_right_of_root(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if service["image"].startswith("tollgate:"):
            assert service["read_only"] is True, name
            assert any(directory.startswith("/var/lib/tollgate:uid=10001") for directory in service["tmpfs"])
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert "--uid 10001" in dockerfile


def test_no_password_is_written_down_and_nobody_is_a_user_by_default(compose: dict[str, Any]) -> None:
    clickhouse = compose["services"]["clickhouse"]["environment"]
    assert clickhouse["CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT"] == "0"
    assert clickhouse["CLICKHOUSE_USER"] != "default"
    given = [
        (name, value)
        for service in compose["services"].values()
        for name, value in service["environment"].items()
        if re.search("PASSWORD|TOKEN|SECRET", name)
    ]
    assert given
    # A file, or what whoever starts it has in the environment.
    assert [name for name, value in given if not value.startswith(("/run/secrets/", "${"))] == []
    holders = [name for name, service in compose["services"].items() if "secrets" in service]
    assert sorted(holders) == ["clickhouse", "console", "setup", "sink-clickhouse"]


def test_the_broker_ends_a_transaction_that_hangs_after_a_minute(compose: dict[str, Any]) -> None:
    assert compose["services"]["kafka"]["environment"]["KAFKA_TRANSACTION_MAX_TIMEOUT_MS"] == "60000"


def test_the_image_has_the_compiled_core_and_what_was_hashed() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    needed = tomllib.loads((ROOT / "native" / "Cargo.toml").read_text(encoding="utf-8"))["package"]["rust-version"]
    assert f"RUST_IMAGE=rust:{needed}-" in dockerfile
    assert 'choose_core("compiled")' in dockerfile
    assert "--require-hashes --requirement deploy/requirements.lock" in dockerfile
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    # A core that was built on the host is for another machine.
    assert {"native/target", "**/*.so", ".venv", ".git"} <= set(ignored)


def test_the_image_copies_every_folder_of_the_product() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    copied = set(re.findall(r"^COPY (\w+)[ /]", dockerfile, re.MULTILINE))
    assert {"schemas", "runtime", "processors", "sinks", "producers", "console", "deploy"} <= copied
    assert "USER tollgate" in dockerfile
