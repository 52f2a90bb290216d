"""The examples of the page about limits in a service, as they stand there."""

import re
from typing import Any

import pytest
from tests.tidy.repository import ROOT

from tollgate.sdk import BlockedError, RecordingTollgate

PAGE = (ROOT / "docs" / "sdk-limits.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(example: str, toll: RecordingTollgate) -> Any:
    """Run it as the body of a function, and return what that returns."""
    body = "\n".join(f"    {line}" for line in example.splitlines())
    made: dict[str, Any] = {}
    exec(f"def body(toll):\n{body}\n", made)  # our own page
    return made["body"](toll)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs_and_is_denied_when_it_must_be(example: str) -> None:
    toll = RecordingTollgate()
    assert run(example, toll) is None
    assert len(toll.events) == ("settle" in example)
    toll.deny("user/u-42", message="no more today")
    if "reserve" in example:
        with pytest.raises(BlockedError):
            run(example, toll)
    elif "return" in example:
        assert run(example, toll) == (429, "no more today")


def test_the_page_has_examples_of_each() -> None:
    assert len(EXAMPLES) == 4
