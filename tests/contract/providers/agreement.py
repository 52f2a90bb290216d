"""What was recorded beside the provider's own books."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.support.provider_server import ProviderServer
from tests.waiting import wait_until

from tollgate.sdk.testing import AsyncRecordingTollgate, RecordingTollgate

Toll = RecordingTollgate | AsyncRecordingTollgate


def counted(usages: list[Mapping[str, Any]]) -> Counter[str]:
    """The amounts of each call, in any order of calls and keys. `"12.5"` and 12.5 are the same amount."""
    return Counter(json.dumps({key: str(amount) for key, amount in usage.items()}, sort_keys=True) for usage in usages)


def agree(toll: Toll, server: ProviderServer, calls: int) -> None:
    """Exactly these calls were billed, and each is recorded with exactly what it was billed for."""
    wait_until(lambda: len(server.books) >= calls, what=f"{calls} calls in the provider's books")
    billed = [line.usage for line in server.books]
    recorded = [event.data["usage"] for event in toll.events if event.data["usage"]]
    assert counted(recorded) == counted(billed)
    assert (len(billed), len(recorded)) == (calls, calls)


def ends(toll: Toll) -> list[tuple[str, bool, bool]]:
    """Of each event its status, whether it is billed all the same, and whether it is estimated."""
    return [
        (
            event.data.get("status", "success"),
            event.data.get("billed", False),
            event.data.get("metadata", {}).get("estimated", False),
        )
        for event in toll.events
    ]
