"""The command as a whole: help, exit statuses, quiet ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tollgate.cli.main import MOUNTS, build_app, main

COMMAND = [sys.executable, "-m", "tollgate.cli.main"]
# Nothing listens on the discard port of this machine.
NOWHERE = "127.0.0.1:9"


def names_of(name: str) -> list[list[str]]:
    app = build_app(name)[name]
    subcommands = [sub for sub in app if not sub.startswith("-")]
    return [[name], *([name, sub] for sub in subcommands)]


@pytest.mark.parametrize("name", [mount.name for mount in MOUNTS])
def test_every_command_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in names_of(name):
        assert main([*words, "--help"]) == 0
        shown = capsys.readouterr()
        assert f"Usage: tollgate {' '.join(words)}" in shown.out
        assert "Examples:" in shown.out, words
        assert not shown.err


def test_help_lists_every_command_and_imports_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(f" {mount.name} " in listed for mount in MOUNTS)
    heavy = "import sys; from tollgate.cli.main import main; main(['--help']); print('aiokafka' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert ran.stdout.rstrip().endswith("False")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pubish"], "'pubish' is no command; did you mean 'publish'?"),
        (["spend"], "requires an argument"),
        (["spend", "u1"], "'u1' is not a scope"),
        (["spend", "user/u1", "--window", "year"], "Invalid value"),
        (["spend", "user/u1", "--at", "noon"], "--at must be RFC 3339"),
        (["budget", "set", "user/u1"], "--limit"),
        (["budget", "set", "user/u1", "--limit", "0"], "must be above 0"),
        (
            ["budget", "set", "user/u1", "--limit", "5", "--window", "year"],
            "window: must be one of hour, day, week, month, lifetime",
        ),
        (["budget", "set", "user/u1", "--limit", "5", "--timezone", "Mars/X"], "is no IANA time zone"),
        (["dead-letters", "show", "17"], "is not PARTITION:OFFSET"),
        (["dead-letters", "replay"], "give PARTITION:OFFSET or --reason"),
        (["dead-letters", "list", "--reason", "nonsense"], "is none of not_json, invalid_utf8"),
        (["publish", "no-such-file"], "cannot be read: No such file"),
        (["publish", "-", "--shift-time", "later"], "--shift-time must be RFC 3339"),
        (["publish", "-", "--map", "time=t"], "add --csv"),
    ],
)
def test_wrong_usage_ends_with_2_and_one_sentence(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOLLGATE_KAFKA_BOOTSTRAP_SERVERS", NOWHERE)
    assert main(words) == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert says in shown.err
    assert shown.err.startswith("tollgate: ")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["spend", "global"],
        ["flags"],
        ["flags", "--follow"],
        ["why", "user/u1"],
        ["budget", "list"],
        ["budget", "set", "global", "--limit", "1"],
        ["budget", "remove", "global:month:usd"],
        ["budget", "preset", "studio-412", "--apply"],
        ["price", "set", "openai/gpt-4o", "--rate", "input_tokens=1/1M"],
        ["audit"],
        ["token", "list"],
        ["token", "create", "--role", "viewer"],
        ["console", "login"],
        ["topics", "apply"],
        ["dead-letters", "list"],
    ],
)
def test_an_unreachable_kafka_ends_with_3_and_says_what_to_do(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOLLGATE_KAFKA_BOOTSTRAP_SERVERS", NOWHERE)
    assert main(words) == 3
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err == (
        f"tollgate: Kafka at {NOWHERE} cannot be reached: start the stack with `tollgate up`, or set "
        "TOLLGATE_KAFKA_BOOTSTRAP_SERVERS.\n"
    )


def test_a_wrong_setting_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLGATE_LOG_LEVEL", "loud")
    assert main(["flags"]) == 2
    assert "the setting TOLLGATE_LOG_LEVEL is wrong" in capsys.readouterr().err


def test_a_missing_extra_is_one_sentence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tollgate.worker", raising=False)
    monkeypatch.setitem(sys.modules, "faust", None)
    for name in [name for name in sys.modules if name.startswith("tollgate.worker.")]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["worker"]) == 2
    assert capsys.readouterr().err == (
        "tollgate: this command needs faust, which is not installed: pip install 'tollgate[worker]'.\n"
    )


def test_a_closed_pipe_ends_a_command_quietly(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        ran = subprocess.run(
            [*COMMAND, "publish", "-", "--dry-run"],
            stdin=subprocess.DEVNULL,
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (ran.returncode, ran.stderr) == (141, b"")


def test_ctrl_c_ends_a_command_quietly_with_130() -> None:
    with subprocess.Popen(
        [*COMMAND, "publish", "-", "--dry-run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        # The refusal shows that the command runs; then it waits for more, because the pipe stays open.
        process.stdin.write(b"{\n")
        process.stdin.flush()
        assert process.stderr.readline().startswith(b"line 1 refused, not_json: value: ")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stdout is not None
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


def test_publish_reads_a_pipe_shifts_it_and_reports_as_json() -> None:
    rows = b"t,n\n2026-11-20T10:00:00Z,1\n2026-11-20T11:00:00Z,1\nbad,1\n"
    words = ["--csv", "--map", "time=t", "--map", "usage.requests=n", "--set", "agent=SEO", "--set", "subject=u1"]
    shift = ["--shift-time", "2026-11-21T11:00:00Z", "--dry-run", "--json"]
    ran = subprocess.run([*COMMAND, "publish", *words, *shift, "-"], input=rows, capture_output=True, check=False)
    assert ran.returncode == 1
    report = json.loads(ran.stdout)
    assert (report["valid"], report["refused"], report["published"]) == (2, 1, 0)
    assert report["shifted_ms"] == 86_400_000
    assert (report["first_time"], report["last_time"]) == ("2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z")
    assert [(found["line"], found["reason"]) for found in report["refusals"]] == [(4, "invalid_time")]
    assert ran.stderr.startswith(b"line 4 refused, invalid_time: time: must be RFC 3339")
