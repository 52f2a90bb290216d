"""A service in a process of its own: reserves many times at once, and prints how often it was granted and denied.

`python -m tests.support.reserving_client BOOTSTRAP PREFIX SOURCE COUNT`. What is granted stays open.
"""

import asyncio
import json
import sys

from tollgate.sdk import BlockedError, FlagReader

# Longer than a worker takes that was killed and is started again.
SECONDS = 120.0


async def _reserve(flags: FlagReader, number: int, source: str, granted: list[str], denied: list[str]) -> None:
    try:
        # Entered and not left: leaving would release it.
        await flags.reserve(
            user="u-1", usd="0.10", ttl_seconds=600, id=f"{source}-{number}", timeout_seconds=SECONDS
        ).__aenter__()
        granted.append(f"{source}-{number}")
    except BlockedError as error:
        denied.append(error.error)


async def _main(bootstrap: str, prefix: str, source: str, count: int) -> None:
    granted: list[str] = []
    denied: list[str] = []
    async with FlagReader(bootstrap, source=source, topic_prefix=prefix, when_unknown="closed") as flags:
        print("ready", flush=True)
        await asyncio.gather(*(_reserve(flags, number, source, granted, denied) for number in range(count)))
    print(json.dumps({"granted": granted, "denied": denied}), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
