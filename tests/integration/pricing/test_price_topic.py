"""Prices that are set at run time, through a real broker."""

import json

import pytest

from tollgate.cli.main import main
from tollgate.cli.price_topic import read_prices
from tollgate.runtime.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    for name in ("kafka_bootstrap_servers", "topic_prefix", "data_dir"):
        monkeypatch.setenv(f"TOLLGATE_{name.upper()}", str(getattr(settings, name)))


def price(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main(["price", *arguments])
    return status, capsys.readouterr().out


def test_a_price_that_is_set_is_shown_and_gone_when_removed(
    capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    rates = ("--rate", "input_tokens=3/1M", "--rate", "output_tokens=12/1M")
    status, out = price(capsys, "set", "openai/gpt-4o", *rates, "--from", "2026-01-01T00:00:00Z", "--json")
    price_id = json.loads(out)["id"]
    assert status == 0
    assert price_id.startswith("openai/gpt-4o@2026-01-01#")
    assert [record.id for record in read_prices(settings).records] == [price_id]

    at = ("--at", "2026-11-21T10:00:00Z", "--json")
    assert json.loads(price(capsys, "show", "openai/gpt-4o", *at)[1])["id"] == price_id
    assert price(capsys, "remove", price_id) == (0, f"removed {price_id}\n")
    assert read_prices(settings).records == ()
    assert json.loads(price(capsys, "show", "openai/gpt-4o", *at)[1])["source"] == "genai-prices 0.2.3"
    assert price(capsys, "remove", price_id)[0] == 1


def test_a_missing_topic_is_no_missing_broker(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLGATE_TOPIC_PREFIX", "never-made.")
    assert main(["price", "set", "openai/gpt-4o", "--rate", "input_tokens=3/1M"]) == 3
    assert "create them with `tollgate topics apply`" in capsys.readouterr().err
