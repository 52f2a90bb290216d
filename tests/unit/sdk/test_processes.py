"""A client over the life of processes: forks, ends, and what is left behind."""

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.usage_door import UsageDoor, usage_door
from tests.waiting import wait_until

from tollgate.sdk import Tollgate

GOOD: dict[str, Any] = {"user": "u-42", "provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 3}}


@pytest.fixture
def door() -> Iterator[UsageDoor]:
    with usage_door() as opened:
        yield opened


@pytest.fixture
def toll(door: UsageDoor, tmp_path: Path) -> Iterator[Tollgate]:
    with Tollgate(url=door.url, source="chat", token="t", spool_dir=tmp_path) as client:
        yield client


def sdk_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("tollgate-sdk")]


def test_a_fork_leaves_the_parents_events_to_the_parent_and_both_go_on(door: UsageDoor, toll: Tollgate) -> None:
    first = [toll.record(**GOOD) for _ in range(100)]
    child = os.fork()
    if child == 0:
        # Nothing here may raise: the test must not go on twice.
        try:
            toll.record(**GOOD, id="child")
            fine = toll.flush(10) and toll.stats.recorded == 1
            toll.close()
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)
    second = toll.record(**GOOD)
    assert os.waitpid(child, 0)[1] == 0
    assert toll.flush(10)
    assert set(door.ids()) == {*first, "child", second}
    assert toll.stats.recorded == 101


def test_forks_while_other_threads_record_lose_nothing(door: UsageDoor, toll: Tollgate) -> None:
    stop = threading.Event()
    recorded: list[str] = []

    def work() -> None:
        while not stop.is_set():
            recorded.append(toll.record(**GOOD))
            stop.wait(0.0005)

    thread = threading.Thread(target=work)
    thread.start()
    children = []
    for number in range(5):
        child = os.fork()
        if child == 0:
            try:
                toll.record(**GOOD, id=f"child-{number}")
                fine = toll.flush(10)
                os._exit(0 if fine else 1)
            finally:
                os._exit(2)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    stop.set()
    thread.join()
    assert statuses == [0] * 5
    assert toll.flush(20)
    # A request that was on its way when a fork came is sent again.
    assert set(door.ids()) == {*recorded, *(f"child-{number}" for number in range(5))}
    assert toll.stats.recorded == toll.stats.sent == len(recorded)


SCRIPT = """
import {imports}
from tollgate.sdk import Tollgate, AsyncTollgate
url, spool = sys.argv[1:]
def client(**more):
    return Tollgate(url=url, source="chat", spool_dir=spool, **more)
def record(toll, **more):
    return toll.record(user="u1", provider="openai", model="gpt-4o", usage={{"input_tokens": 3}}, **more)
{body}
"""
BODIES = {
    "left open": ("sys", ["toll = client()", "for n in range(50): record(toll)"], 50),
    "closed": ("sys", ["with client() as toll:", "    for n in range(50): record(toll)"], 50),
    "recorded by a handler of the exit": (
        "sys, atexit",
        ["toll = client()", "atexit.register(lambda: record(toll))"],
        1,
    ),
    "recorded after our handler ran": (
        "sys, atexit",
        ["atexit.register(lambda: record(toll))", "toll = client()", "record(toll)"],
        2,
    ),
    "an exception": ("sys", ["toll = client()", "record(toll)", "raise SystemExit(0)"], 1),
    "a loop that is running": (
        "sys, asyncio",
        [
            "async def main():",
            "    toll = AsyncTollgate(url=url, source='c', spool_dir=spool)",
            "    record(toll)",
            "asyncio.run(main())",
        ],
        1,
    ),
    "processes of multiprocessing": (
        "sys, multiprocessing",
        [
            "toll = client()",
            "record(toll)",
            "context = multiprocessing.get_context('fork')",
            "workers = [context.Process(target=record, args=(toll,)) for n in range(3)]",
            "for w in workers: w.start()",
            "for w in workers: w.join()",
            "assert [w.exitcode for w in workers] == [0, 0, 0]",
        ],
        4,
    ),
    "a pool of processes": (
        "sys, concurrent.futures, multiprocessing",
        [
            "toll = client()",
            "record(toll)",
            "def work(n): return len(record(toll))",
            "context = multiprocessing.get_context('fork')",
            "with concurrent.futures.ProcessPoolExecutor(2, context) as pool:",
            "    assert list(pool.map(work, range(10))) == [32] * 10",
        ],
        11,
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_process_that_ends_has_sent_or_spooled_everything_and_says_nothing(
    door: UsageDoor, tmp_path: Path, name: str
) -> None:
    imports, body, count = BODIES[name]
    argv = [sys.executable, "-W", "error", "-X", "dev", "-c", SCRIPT.format(imports=imports, body="\n".join(body))]
    begun = time.monotonic()
    done = subprocess.run([*argv, door.url, str(tmp_path)], capture_output=True, text=True, check=False)
    took_seconds = time.monotonic() - begun
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    sent = len(door.ids())
    # What a busy machine did not send in the time of an exit is in the spool.
    with Tollgate(url=door.url, source="chat", spool_dir=tmp_path) as client:
        client.record(**GOOD)
        assert client.flush(10)
        assert client.stats.taken_over == count - sent
    assert len(door.ids()) == len(set(door.ids())) == count + 1
    # With the start of the interpreter and its imports, on a busy machine.
    assert took_seconds < 10


def test_a_process_ends_in_time_while_its_server_is_away(tmp_path: Path) -> None:
    body = (
        "import time\ntoll = client()\nrecord(toll)\nwhile not toll.stats.spooled: time.sleep(0.01)\n"
        "begun = time.monotonic()\nimport atexit\natexit.register(lambda: print(time.monotonic() - begun))"
    )
    argv = [sys.executable, "-W", "error", "-c", SCRIPT.format(imports="sys", body=body)]
    # Registered last, so it would run first: the time is that of the whole exit when it is told by the parent.
    begun = time.monotonic()
    done = subprocess.run([*argv, "http://127.0.0.1:1", str(tmp_path)], capture_output=True, text=True, check=True)
    assert time.monotonic() - begun < 10
    assert "Traceback" not in done.stderr
    assert len(list(tmp_path.rglob("*.seg"))) == 1


def test_no_thread_and_no_descriptor_stays_after_many_clients(door: UsageDoor, tmp_path: Path) -> None:
    def use() -> None:
        with Tollgate(url=door.url, source="chat", spool_dir=tmp_path) as client:
            client.record(**GOOD)
            assert client.flush(5)

    use()
    gc.collect()
    own = Path("/proc/self/fd")
    descriptors = len(list(own.iterdir())) if own.is_dir() else 0
    for _ in range(5):
        use()
    gc.collect()
    assert sdk_threads() == []
    if descriptors:
        wait_until(lambda: len(list(own.iterdir())) <= descriptors + 2)
