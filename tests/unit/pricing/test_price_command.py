"""`tollgate price` where no Kafka answers: the shipped prices still do."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.pricing.events import M

from tollgate.cli.main import main

DATA = {"provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 1200, "cached_input_tokens": 1000}}
EVENT = {
    "specversion": "1.0",
    "type": "tollgate.usage.v1",
    "source": "chat",
    "id": "e1",
    "subject": "u1",
    "time": "2025-06-09T23:59:59Z",
    "data": {"provider": "openai", "model": "o3", "usage": {"input_tokens": M}},
}


@pytest.fixture(autouse=True)
def no_kafka(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Nothing listens on port 1, so a connection is refused at once.
    monkeypatch.setenv("TOLLGATE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("TOLLGATE_DATA_DIR", str(tmp_path))


def price(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["price", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def file_of(tmp_path: Path, *values: Any) -> str:
    path = tmp_path / "events.ndjson"
    path.write_text("\n".join(json.dumps(value) for value in values))
    return str(path)


def test_an_event_is_explained_line_by_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, err = price(capsys, "explain", file_of(tmp_path, EVENT), "--offline")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "chat/e1  openai/o3  2025-06-09T23:59:59Z",
        "DIMENSION      AMOUNT  UNIT PRICE      USD  NOTE",
        "input_tokens  1000000  10 per 1000000  10",
        "cost 10 USD, priced by " + out.splitlines()[-1].rpartition(" ")[2],
    ]


def test_several_events_are_explained_as_json_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = price(capsys, "explain", file_of(tmp_path, EVENT, DATA), "--offline", "--json")
    first, second = map(json.loads, out.splitlines())
    assert status == 0
    assert (first["event_id"], first["cost_usd"], first["price_status"]) == ("e1", "10", "priced")
    assert [(line["dimension"], line["cost_usd"]) for line in second["lines"]] == [
        ("input_tokens", "0.0005"),
        ("cached_input_tokens", "0.00125"),
    ]
    assert (second["cost_usd"], second["price_id"]) == ("0.00175", "openai/gpt-4o@genai-0.2.3#91aa280d")


def test_events_come_from_standard_input_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(DATA, indent=2).encode())))
    status, out, _ = price(capsys, "explain", "-", "--offline")
    assert status == 0
    assert "cost 0.00175 USD, priced by openai/gpt-4o@genai-0.2.3#91aa280d" in out


def test_a_refused_event_is_named_by_its_line_and_the_others_go_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out, err = price(capsys, "explain", file_of(tmp_path, {"provider": 1}, DATA), "--offline", "--json")
    assert status == 1
    assert err == "tollgate: line 1 is refused as wrong_type: data.provider: must be a string.\n"
    assert json.loads(out)["cost_usd"] == "0.00175"


def test_without_kafka_the_shipped_prices_answer_and_say_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, err = price(capsys, "explain", file_of(tmp_path, DATA), "--json")
    assert status == 0
    assert json.loads(out)["cost_usd"] == "0.00175"
    assert err.startswith("prices set at run time are left out: Kafka at 127.0.0.1:1 cannot be reached")


def test_without_kafka_no_price_is_set(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = price(capsys, "set", "openai/gpt-4o", "--rate", "input_tokens=3/1M")
    assert (status, out) == (3, "")
    assert err.startswith("tollgate: Kafka at 127.0.0.1:1 cannot be reached")
    assert price(capsys, "remove", "x")[0] == 3


def test_prices_are_listed_by_provider(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = price(capsys, "list", "RunwayML", "--offline")
    assert out.splitlines() == [
        "PROVIDER  MODEL OR AGENT     OPTIONS  PRICE               SINCE",
        "runway    gen-3-alpha-turbo           video_seconds 0.05  2023-01-01",
    ]
    _, out, _ = price(capsys, "list", "openai", "--offline", "--json")
    models = {listed["model"] for listed in json.loads(out)}
    assert {"dall-e-3", "gpt-4o"} <= models


def test_a_price_is_shown_for_an_instant_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = price(capsys, "show", "openai/o3", "--offline", "--json", "--at", "2025-06-09T00:00:00Z")
    shown = json.loads(out)
    assert shown["rates"][0] == {"dimension": "input_tokens", "usd": "10", "per": "1000000"}
    assert shown["holds"] == {"from": None, "to": "2025-06-10T00:00:00Z"}
    _, out, _ = price(capsys, "show", "openai/dall-e-3", "--offline", "--option", "quality=hd", "--option", "size=1792")
    assert "images 0.12" in out
    _, out, _ = price(capsys, "show", "agent/SEO", "--offline")
    assert "input_tokens 0.03 per 1000" in out


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["show", "openai/gpt-99", "--offline"], 1, "no price of openai/gpt-99 is known then"),
        (["list", "nobody", "--offline"], 1, "no price of provider 'nobody' is known"),
        (["show", "gpt-4o", "--offline"], 2, "'gpt-4o' is neither PROVIDER/MODEL"),
        (["show", "a/b", "--at", "today", "--offline"], 2, "'today' is no instant"),
        (["explain", "no-such-file", "--offline"], 2, "no-such-file cannot be read"),
        (["set", "a/b", "--rate", "input_tokens"], 2, "rate 'input_tokens' must be DIMENSION=USD"),
        (["set", "a/b", "--rate", "x=1/0"], 2, "rates.0.per: must be above 0"),
        (["set", "a/b", "--rate", "x=1", "--rate", "x=2"], 2, "rates: a dimension is priced twice"),
        (["set", "a/b", "--rate", "x=1", "--option", "size"], 2, "option 'size' must be NAME=VALUE"),
        (["set", "a/b"], 2, ""),
    ],
)
def test_a_failure_is_one_sentence_and_a_status(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, sentence: str
) -> None:
    given, out, err = price(capsys, *arguments)
    assert (given, out) == (status, "")
    assert sentence in err
    assert err.startswith("tollgate: ")
    assert err.count("\n") == 1
