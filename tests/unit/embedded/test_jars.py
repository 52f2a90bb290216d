"""The broker's jars: only what the lock file names reaches a class path, and a second start needs no network."""

import hashlib
from pathlib import Path

import pytest

from tollgate.embedded.errors import MissingPartError
from tollgate.embedded.jars import LockedJar, damaged_jars, ensure_jars, jar_directory, locked_jars, missing_jars

CONTENT = {"a-1.jar": b"first jar", "b-2.jar": b"the second"}


TWO_JARS = [
    LockedJar("g", name[0], name[2], len(content), hashlib.sha256(content).hexdigest())
    for name, content in CONTENT.items()
]


def test_the_lock_file_names_the_broker_and_each_file_once() -> None:
    locked = locked_jars()
    assert len(locked) == 46
    assert "kafka_2.13-4.2.2.jar" in {jar.filename for jar in locked}
    assert len({jar.filename for jar in locked}) == 46
    assert all(len(jar.sha256) == 64 and jar.size_bytes > 0 for jar in locked)


def test_the_cache_is_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert jar_directory() == tmp_path / "tollgate" / "jars"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home-of-nobody")
    assert jar_directory() == Path("/home-of-nobody/.cache/tollgate/jars")


def test_jars_that_are_there_are_used_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    assert ensure_jars(directory=tmp_path, locked=TWO_JARS) == [tmp_path / "a-1.jar", tmp_path / "b-2.jar"]


def test_a_jar_that_is_cut_short_counts_as_missing(tmp_path: Path) -> None:
    (tmp_path / "a-1.jar").write_bytes(CONTENT["a-1.jar"][:-1])
    (tmp_path / "b-2.jar").write_bytes(CONTENT["b-2.jar"])
    assert [jar.filename for jar in missing_jars(tmp_path, TWO_JARS)] == ["a-1.jar"]


def test_a_jar_of_the_right_size_and_another_content_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a-1.jar").write_bytes(b"x" * len(CONTENT["a-1.jar"]))
    (tmp_path / "b-2.jar").write_bytes(CONTENT["b-2.jar"])
    assert missing_jars(tmp_path, TWO_JARS) == []
    assert [jar.filename for jar in damaged_jars(tmp_path, TWO_JARS)] == ["a-1.jar"]


def test_a_jar_that_was_changed_is_not_put_on_the_class_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
    changed = b"x" + CONTENT["a-1.jar"][1:]
    (tmp_path / "a-1.jar").write_bytes(changed)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    # The way to a whole one is a network, and there is none.
    with pytest.raises(MissingPartError, match=r"Cannot fetch a-1\.jar"):
        ensure_jars(directory=tmp_path, locked=TWO_JARS)
    assert "a-1.jar" in capsys.readouterr().out
    (tmp_path / "a-1.jar").write_bytes(CONTENT["a-1.jar"])
    assert ensure_jars(directory=tmp_path, locked=TWO_JARS) == [tmp_path / "a-1.jar", tmp_path / "b-2.jar"]


def test_without_a_network_the_error_says_what_to_do_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A proxy that refuses every connection stands for a network that is down.
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(MissingPartError, match="check the network"):
        ensure_jars(directory=tmp_path / "jars", locked=TWO_JARS)
    assert list((tmp_path / "jars").iterdir()) == []
