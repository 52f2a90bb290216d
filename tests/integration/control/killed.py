"""A process that dies by SIGKILL in the middle of a change: before, between or after its writes, or after the commit.

Reads settings as JSON and one of `between`, `uncommitted`, `committed`.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer

from tollgate.control.change import OutRecord, new_change
from tollgate.control.follower import Follower
from tollgate.control.writer import Writer
from tollgate.runtime.settings import Settings


class DyingWriter(Writer):
    """Dies at the named moment, when Kafka has acknowledged everything up to it."""

    moment = ""

    async def _commit(self, producer: AIOKafkaProducer, records: Sequence[OutRecord]) -> None:
        if self.moment == "committed":
            await super()._commit(producer, records)
        else:
            await producer.begin_transaction()
            for record in records if self.moment == "uncommitted" else records[:1]:
                topic = self._settings.topic(record.topic)
                headers = list(record.headers)
                await producer.send_and_wait(topic, record.value, record.key, partition=0, headers=headers)
        os.kill(os.getpid(), signal.SIGKILL)


async def die(settings: Settings, moment: str) -> None:
    """Change the company's budget and die."""
    follower = Follower(settings)
    await follower.start()
    change = new_change(
        "the-dead-one",
        "budget/global:month:usd",
        {"scope": "global", "limit": "13"},
        actor="dead",
        reason="",
        expect_version=None,
        idempotency_key="once",
        request=None,
    )
    writer = DyingWriter(settings, follower, change, time.time_ns() // 1_000_000)
    writer.moment = moment
    await writer.until_done()


if __name__ == "__main__":
    asyncio.run(die(Settings.model_validate_json(sys.argv[1]), sys.argv[2]))
