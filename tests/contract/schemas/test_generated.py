"""The generated files say what the code says, and the AsyncAPI document holds together."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tollgate.schemas.asyncapi import asyncapi_document
from tollgate.schemas.generate import GENERATED, MODELS, generated_files, json_schema, main, stale_files, write_files
from tollgate.schemas.topics import Topic, topic_name


def references(node: Any) -> Iterator[str]:
    """Every `$ref` in the document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def resolve(document: dict[str, Any], reference: str) -> Any:
    """What a local reference points to; KeyError when it points nowhere."""
    assert reference.startswith("#/")
    node: Any = document
    for part in reference[2:].split("/"):
        node = node[part]
    return node


def test_the_generated_files_are_up_to_date() -> None:
    assert stale_files(GENERATED) == [], "run python -m tollgate.schemas.generate"
    assert main(["--check"]) == 0


def test_generation_gives_the_same_bytes_again() -> None:
    assert generated_files() == generated_files()


def test_a_changed_a_missing_and_a_foreign_file_are_stale(tmp_path: Path) -> None:
    write_files(tmp_path)
    assert stale_files(tmp_path) == []
    (tmp_path / "flag.schema.json").write_text("{}")
    (tmp_path / "alert.schema.json").unlink()
    (tmp_path / "other.json").write_text("{}")
    assert stale_files(tmp_path) == ["alert.schema.json", "flag.schema.json", "other.json"]
    write_files(tmp_path)
    assert stale_files(tmp_path) == []


def test_an_unknown_argument_is_a_usage_error() -> None:
    assert main(["--chek"]) == 2


def test_every_schema_is_a_json_schema_with_local_references() -> None:
    for name in MODELS:
        schema = json_schema(name)
        Draft202012Validator.check_schema(schema)
        for reference in references(schema):
            resolve(schema, reference)


def test_every_field_of_a_schema_that_is_not_plain_is_described() -> None:
    for name, model in MODELS.items():
        assert json_schema(name)["description"], name
        assert model.__doc__


def test_the_asyncapi_document_has_a_channel_for_every_public_topic() -> None:
    channels = asyncapi_document()["channels"]
    public = {topic_name(topic) for topic in Topic if not topic.value.startswith("internal.")}
    assert {channel["address"] for channel in channels.values()} == public


def test_every_reference_of_the_asyncapi_document_resolves() -> None:
    document = asyncapi_document()
    found = set(references(document))
    for reference in found:
        resolve(document, reference)
    for group in ("messages", "schemas"):
        assert {f"#/components/{group}/{name}" for name in document["components"][group]} <= found


def test_every_channel_is_used_by_one_operation() -> None:
    document = asyncapi_document()
    used = sorted(operation["channel"]["$ref"] for operation in document["operations"].values())
    assert used == sorted(f"#/channels/{name}" for name in document["channels"])
    actions = {name: operation["action"] for name, operation in document["operations"].items()}
    receiving = {name for name, action in actions.items() if action == "receive"}
    assert receiving == {"receiveUsage", "receiveEntries", "receiveControl"}


def test_yaml_and_json_are_the_same_document() -> None:
    files = generated_files()
    assert yaml.safe_load(files["asyncapi.yaml"]) == json.loads(files["asyncapi.json"])
