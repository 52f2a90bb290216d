"""One figure measured by itself: `python -m tests.bench.recovery` and others."""

import logging
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop
from tests.bench.kafka import broker
from tests.bench.scene import Result, Scene, Sizes


def measure_alone(sizes: Sizes, measure: Callable[[Scene], Coroutine[Any, Any, list[Result]]]) -> None:
    """Start a broker, measure, and print each figure as a line of JSON. The data is removed afterwards."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    directory = Path(tempfile.mkdtemp(prefix="tollgate-bench-"))
    try:
        with broker(directory) as (servers, pid):
            results = uvloop.run(measure(Scene(servers, pid, directory, sizes)))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    for result in results:
        print(result.line())
