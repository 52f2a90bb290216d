"""Where a command looks for the services."""

import os
from pathlib import Path

import pytest

from tollgate.cli.exits import UnreachableError
from tollgate.cli.services import find_settings
from tollgate.embedded.stack_state import ProcessId, StackState


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("TOLLGATE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write_stack(data_dir: Path, *, alive: bool) -> None:
    me = ProcessId.of(os.getpid())
    data_dir.mkdir(parents=True, exist_ok=True)
    ports = {"kafka": 19999, "clickhouse": 18888}
    started = me.started if alive else "long ago"
    StackState(me.pid, started, ports, clickhouse_password="the stack's").write(data_dir)


def test_a_running_stack_is_found_by_its_directory(tmp_path: Path) -> None:
    write_stack(tmp_path / "d", alive=True)
    settings = find_settings(tmp_path / "d")
    assert settings.kafka_bootstrap_servers == "127.0.0.1:19999"
    assert settings.clickhouse_url == "http://127.0.0.1:18888"
    assert settings.clickhouse_password.get_secret_value() == "the stack's"
    assert settings.data_dir == tmp_path / "d"


def test_the_directory_is_that_of_the_setting_or_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stack(tmp_path / ".tollgate", alive=True)
    assert find_settings().kafka_bootstrap_servers == "127.0.0.1:19999"
    monkeypatch.setenv("TOLLGATE_DATA_DIR", str(tmp_path / "elsewhere"))
    assert find_settings().kafka_bootstrap_servers == "127.0.0.1:9092"


def test_an_address_from_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stack(tmp_path / "d", alive=True)
    monkeypatch.setenv("TOLLGATE_KAFKA_BOOTSTRAP_SERVERS", "broker:9092")
    settings = find_settings(tmp_path / "d")
    assert settings.kafka_bootstrap_servers == "broker:9092"
    assert settings.clickhouse_url == "http://127.0.0.1:18888"
    monkeypatch.setenv("TOLLGATE_CLICKHOUSE_URL", "http://db:8123")
    monkeypatch.setenv("TOLLGATE_CLICKHOUSE_PASSWORD", "the database's")
    elsewhere = find_settings(tmp_path / "d")
    assert elsewhere.clickhouse_url == "http://db:8123"
    assert elsewhere.clickhouse_password.get_secret_value() == "the database's"


def test_a_stack_that_does_not_run_is_unreachable_unless_an_address_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_stack(tmp_path / "d", alive=False)
    for directory in (tmp_path / "d", tmp_path / "never-used"):
        with pytest.raises(UnreachableError, match=f"no stack runs in {directory}: start it with `tollgate up"):
            find_settings(directory)
    monkeypatch.setenv("TOLLGATE_KAFKA_BOOTSTRAP_SERVERS", "broker:9092")
    assert find_settings(tmp_path / "d").kafka_bootstrap_servers == "broker:9092"
