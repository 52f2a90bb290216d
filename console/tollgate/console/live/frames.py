"""The frames of the stream: what changed, as server-sent events."""

from typing import Any, Final, Literal, NamedTuple

import msgspec

from tollgate.console.live.changes import Kind

ITEMS_MAX: Final = 500
"""Items in one frame. The newest ones are in it, and `more` says how many are not."""


class Frame(NamedTuple):
    """One server-sent event. `data` is JSON on one line; `id` rises."""

    event: Kind | Literal["heartbeat", "bye"]
    data: bytes
    id: int

    def encode(self) -> bytes:
        """As it is sent."""
        return b"event: %b\nid: %d\ndata: %b\n\n" % (self.event.encode(), self.id, self.data)


def frame(event: Kind | Literal["heartbeat", "bye"], data: dict[str, Any], number: int) -> Frame:
    """A frame with this value. A name's line breaks become `\\n` in JSON, so they cannot begin an event."""
    return Frame(event, msgspec.json.encode(data), number)


BYE: Final = frame("bye", {}, 0)
"""The last frame of a stream whose caller has logged out or whose process ends."""
