"""Results that come through a pipe."""

import os
import resource
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tollgate.embedded.clickhouse_results import PipedQuery


class _Done:
    """As much of the engine's answer as counters are read from: nothing was read, in no time."""

    def __getattr__(self, _: str) -> Callable[[], int]:
        return lambda: 0


def test_a_result_comes_through_a_pipe_whose_number_is_above_1023() -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit < 1_200:
        pytest.fail(f"this test opens 1,100 files, and the limit is {limit}: raise it with `ulimit -n`")

    def run(path: str) -> object:
        with open(path, "wb") as file:  # noqa: PTH123 # as the engine opens it
            file.write(b"7\n")
        return _Done()

    with ExitStack() as files:
        for _ in range(1_100):
            files.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        with PipedQuery(run, lambda _: None) as piped:
            assert piped.result(early=True).first == b"7\n"
