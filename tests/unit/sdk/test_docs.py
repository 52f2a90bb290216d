"""The examples of docs/sdk.md run, and its tables name what there is."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from tests.tidy.repository import ROOT

from tollgate.sdk import Stats, Tollgate

PAGE = (ROOT / "docs" / "sdk.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLGATE_SPOOL_DIR", str(tmp_path))
    assert len(EXAMPLES) == 2
    for example in EXAMPLES:
        names: dict[str, Any] = {}
        exec(compile(example, "docs/sdk.md", "exec"), names)
        assert names["toll"].stats.recorded == 1
        names["toll"].close(timeout_seconds=0)


def test_every_setting_and_every_count_is_in_the_page() -> None:
    settings = set(inspect.signature(Tollgate).parameters) - {"kafka_options"}
    missing = [name for name in settings | set(Stats.__slots__) if f"`{name}`" not in PAGE]
    assert missing == ["taken_over"], missing


def test_the_defaults_are_those_of_the_page() -> None:
    parameters = inspect.signature(Tollgate).parameters
    assert {name: parameters[name].default for name in ("flush_ms", "memory_events_max", "spool_bytes_max")} == {
        "flush_ms": 5,
        "memory_events_max": 100_000,
        "spool_bytes_max": 1 << 30,
    }
    assert parameters["block_seconds_max"].default == 1.0
    assert parameters["when_full"].default == "drop_oldest"
    for row in ("`memory_events_max` | 100,000", "`flush_ms` | 5", "`spool_bytes_max` | 1 GiB", "(1 s)"):
        assert row in PAGE
