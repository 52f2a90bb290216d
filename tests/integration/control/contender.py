"""A process that changes one budget as often as it can: each change expects the version that was read just before.

Reads settings as JSON and the number of changes that it must win; prints a JSON list of the versions that it made.
"""

import asyncio
import json
import os
import sys

from tollgate.control import ControlStore, VersionConflictError
from tollgate.runtime.settings import Settings

KEY = "budget/global:month:usd"


async def contend(settings: Settings, wins: int) -> list[int]:
    """Win so many changes; one that somebody else won is looked at again."""
    store = ControlStore(settings)
    await store.start()
    won: list[int] = []
    try:
        while len(won) < wins:
            held = store.get(KEY)
            value = {"scope": "global", "limit": str(1 + len(won))}
            try:
                changed = await store.change(
                    KEY, value, actor=f"process:{os.getpid()}", expect_version=held.version if held else 0
                )
            except VersionConflictError:
                continue
            won.append(changed.version)
    finally:
        await store.stop()
    return won


if __name__ == "__main__":
    made = asyncio.run(contend(Settings.model_validate_json(sys.argv[1]), int(sys.argv[2])))
    sys.stdout.write(json.dumps(made))
