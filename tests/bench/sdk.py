"""The SDK's `record` beside a call of LiteLLM and a span of OpenTelemetry, in turn, and what one process sends."""

import asyncio
import json
import statistics
import sys
from typing import Any

from tests.bench.kafka import create_topics, delete_topics
from tests.bench.processes import PEERS, SDK_PEERS_PYTHON
from tests.bench.recording import RATES
from tests.bench.scene import Result, Scene
from tests.bench.throughput import say


async def sdk(scene: Scene) -> list[Result]:
    """The medians of the runs."""
    ours: list[list[dict[str, Any]]] = []
    theirs: list[list[dict[str, Any]]] = []
    for number in range(scene.sizes.runs):
        prefix = f"sdk{number}."
        await create_topics(scene.servers, prefix)
        try:
            ours.append(await _lines(sys.executable, "-m", "tests.bench.recording", scene.servers, prefix))
            theirs.append(await _lines(str(SDK_PEERS_PYTHON), str(PEERS / "sdk_calls.py")))
        finally:
            await delete_topics(scene.servers, prefix)
        say(f"run {number + 1}: {ours[-1]} {theirs[-1]}")
    peers = [line["peer"] for line in theirs[0]]
    results = []
    for index, (rate, _) in enumerate(RATES):
        at = f"{rate:,} events/s" if index < len(RATES) - 1 else "as fast as it can"
        for name in ("p50_us", "p99_us"):
            mine = [run[index][name] for run in ours]
            detail = {key: round(statistics.median(run[index][key] for run in ours), 1) for key in ours[0][index]}
            results += [
                Result.paired(
                    f"record at {at}, {name[:-3]}", "us", mine, peer, [run[place][name] for run in theirs], **detail
                )
                for place, peer in enumerate(peers)
            ]
    fastest = [run[-1]["stored_per_second"] for run in ours]
    results.append(
        Result(
            "events/s of one process, stored by Kafka",
            statistics.median(fastest),
            "events/s",
            detail={
                "runs": [round(found) for found in fastest],
                "cpu_us": [round(run[-1]["cpu_us"], 1) for run in ours],
            },
        )
    )
    return results


async def _lines(*command: str) -> list[dict[str, Any]]:
    """What a program prints, as objects."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"{command[1:3]} ended with status {process.returncode}")
    return [json.loads(line) for line in output.decode().splitlines() if line.startswith("{")]
