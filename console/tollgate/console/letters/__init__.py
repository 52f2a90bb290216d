"""Dead letters in Kafka: reading them, and sending them again."""

from tollgate.console.letters.letters import (
    Letter,
    NoLetterError,
    Place,
    all_letters,
    newest_letters,
    one_letter,
    text_of,
)
from tollgate.console.letters.replay import KEPT_TOLD_MAX, Replayed, replay, why_not

__all__ = [
    "KEPT_TOLD_MAX",
    "Letter",
    "NoLetterError",
    "Place",
    "Replayed",
    "all_letters",
    "newest_letters",
    "one_letter",
    "replay",
    "text_of",
    "why_not",
]
