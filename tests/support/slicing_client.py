"""A service in a process of its own that draws on slices as fast as it can, and prints what it has done.

`python -m tests.support.slicing_client BOOTSTRAP PREFIX SOURCE SPOOL_DIR TTL SEED`. It ends when it was denied for one
and a half times to live.
"""

import json
import random
import sys
import threading
import time

from tollgate.schemas.amounts import PICO, format_usd
from tollgate.sdk import BlockedError, Tollgate

_MILL = PICO // 1000
# A service that is told to wait does not ask at once again.
_DENIED_SECONDS = 0.05


def _main(bootstrap: str, prefix: str, source: str, spool_dir: str, ttl: int, seed: str) -> None:
    dice, paced = random.Random(seed), threading.Event()
    calls = waited = reserved = actual = 0
    with Tollgate(
        kafka=bootstrap, source=source, topic_prefix=prefix, spool_dir=spool_dir, when_unknown="closed"
    ) as toll:
        # The first one connects.
        try:
            with toll.reserve(user="u-1", usd="0", timeout_seconds=30):
                pass
        except BlockedError:
            pass
        print("ready", flush=True)
        sys.stdin.readline()
        allowed_at = time.monotonic()
        while time.monotonic() - allowed_at < 1.5 * ttl:
            usd = dice.randint(1, 50) * _MILL
            cost = dice.randint(1, usd // _MILL) * _MILL
            try:
                begun = time.perf_counter()
                with toll.reserve(user="u-1", usd=format_usd(usd), slice=True, ttl_seconds=ttl, model="m") as held:
                    waited += time.perf_counter() - begun > 0.01
                    held.settle(usage={}, cost_usd=format_usd(cost))
            except BlockedError:
                paced.wait(_DENIED_SECONDS)
                continue
            calls, reserved, actual = calls + 1, reserved + usd, actual + cost
            allowed_at = time.monotonic()
        toll.flush()
        print(json.dumps({"calls": calls, "waited": waited, "actual": actual, "reserved": reserved}), flush=True)


if __name__ == "__main__":
    _, bootstrap, prefix, source, spool_dir, ttl, seed = sys.argv
    _main(bootstrap, prefix, source, spool_dir, int(ttl), seed)
