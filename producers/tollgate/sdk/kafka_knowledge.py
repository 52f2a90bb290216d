"""What a client knows of limits, from Kafka."""

import asyncio
import logging
from typing import Any, Final

from tollgate.sdk.errors import UnavailableError
from tollgate.sdk.flags import FlagReader
from tollgate.sdk.knowledge import Knowledge

log = logging.getLogger("tollgate.sdk")

_RETRY_SECONDS: Final = 1.0
# A million flags take half a minute.
_LOAD_SECONDS_MAX: Final = 600.0


class KafkaKnowledge:
    """Reads the topics of flags and budgets into a `Knowledge`, and follows them."""

    def __init__(self, bootstrap_servers: str, knowledge: Knowledge, *, topic_prefix: str, **kafka: Any) -> None:
        self._servers = bootstrap_servers
        self._knowledge = knowledge
        self._options = {**kafka, "topic_prefix": topic_prefix}

    async def run(self) -> None:
        """As `Feed.run`."""
        told = False
        while True:
            reader = FlagReader(self._servers, knowledge=self._knowledge, **self._options)
            try:
                await reader.start(_LOAD_SECONDS_MAX)
                # From here on it waits out by itself whatever happens to Kafka.
                await asyncio.Event().wait()
            except UnavailableError as error:
                if not told:
                    log.warning("limits are not known yet: %s", error)
                    told = True
            finally:
                await reader.stop()
            await asyncio.sleep(_RETRY_SECONDS)
