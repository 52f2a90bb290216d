"""Counts the records that cannot be read, and says so without their content."""

from collections import Counter
from typing import Final

import structlog

from tollgate.schemas.topics import Topic

log = structlog.get_logger("tollgate.console.live")

# After the first one a line for each so many, so that a sender of bad records does not fill the log.
_LOGGED_EACH: Final = 1000


class Ignored:
    """How many records of each topic were skipped because they could not be read."""

    def __init__(self) -> None:
        self.by_topic: Counter[Topic] = Counter()

    def note(self, topic: Topic, problem: str) -> None:
        """One more record of this topic."""
        self.by_topic[topic] += 1
        if self.by_topic[topic] % _LOGGED_EACH == 1:
            log.warning("skipped a record", topic=topic.value, problem=problem, skipped=self.by_topic[topic])
