"""What was delivered about each alert: the records of the compacted topic `internal.notifications`."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from tollgate.schemas.instants import parse_instant
from tollgate.schemas.record_reading import read_record

Via = Literal["bot", "webhook", "log"]


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """The message of one alert key.

    `sending` is written before a message is posted and `sent` after, so that a process that dies between the two knows
    to look the message up by `id` before it posts again. `gone` means somebody deleted the message. Instants are RFC
    3339 text; `ts` is Slack's name for the message within `channel` and empty where there is none.
    """

    key: str
    state: Literal["sending", "sent", "gone"]
    via: Via
    id: str
    channel: str
    ts: str = ""
    revision: int
    level: str
    sending_at: str
    posted_at: str = ""
    edited_at: str = ""
    # The channel as the settings named it; `channel` is the identifier that Slack answered with.
    configured_channel: str = ""
    # The key of the digest that tells this alert, which then has no message of its own. With it go what the digest
    # shows of the alert: its name, and how much of the limit was spent. A digest's own `line` counts its members.
    digest: str = ""
    line: str = ""
    percent: str = ""

    def __post_init__(self) -> None:
        for instant in (self.sending_at, self.posted_at, self.edited_at):
            if instant:
                parse_instant(instant)


_decoder = msgspec.json.Decoder(Notification)


def encode_notification(notification: Notification) -> bytes:
    """JSON of the record."""
    return msgspec.json.encode(notification)


def decode_notification(value: bytes) -> Notification:
    """Raises UnreadableError when the value is not such a record."""
    return read_record(_decoder.decode, value)


@dataclass(frozen=True, slots=True)
class Policy:
    """When to speak. Times in milliseconds unless the name says otherwise."""

    # Slack allows about one message a second per channel and 50 edits a minute per workspace
    # (https://docs.slack.dev/apis/web-api/rate-limits).
    post_spacing_ms: int = 1_000
    edit_spacing_ms: int = 1_200
    # Numbers of one message change at most this often; a new level is shown at once.
    edit_interval_ms: int = 5_000
    # A request that was cut off may still be on its way into Slack; look for its message only after this time.
    settle_ms: int = 5_000
    # An alert that began and ended while Slack was away is worth one message if it blocked someone this recently.
    resolved_worth_ms: int = 24 * 60 * 60 * 1_000
    # More new alerts than this waiting are told in one message; 0 never does that. The setting is `alerts_digest_over`.
    digest_over: int = 0
    # A storm takes a moment to gather, and is then told at most so often; what is new meanwhile waits.
    digest_gather_ms: int = 3_000
    digest_interval_ms: int = 60_000
    backoff_first_s: float = 1.0
    backoff_max_s: float = 60.0
    # Pause between attempts with a wrong token or channel, which a person must correct.
    misconfigured_retry_s: float = 30.0
    rejected_retry_ms: int = 5 * 60 * 1_000
