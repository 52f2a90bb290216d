"""Makes one change, or one grant, in one transaction of Kafka, however many writers there are."""

import asyncio
import itertools
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    IllegalOperation,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from tollgate.control.change import Change, OutRecord, Plan, plan
from tollgate.control.follower import Follower
from tollgate.control.records import Changed
from tollgate.runtime.kafka import CONTROL_WRITER, client_options
from tollgate.runtime.settings import Settings

_Answer = TypeVar("_Answer")

# Whoever dies in the middle of a change holds up the readers of the topic for so long, unless somebody else makes a
# change before that.
_TRANSACTION_TIMEOUT_MS: Final = 10_000

# The pause after being shut out by another writer: random, and at most this much, which doubles each time.
_PAUSE_SECONDS: Final = 0.02
_PAUSE_SECONDS_MAX: Final = 1.0

_STOP_SECONDS_MAX: Final = 2.0

# Trying again does not help.
REFUSALS: Final = (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)


def transactional_id(settings: Settings) -> str:
    """The one transactional id that every writer of the installation's control topic uses."""
    return settings.application + CONTROL_WRITER


class Transaction(ABC, Generic[_Answer]):
    """Writes records in one transaction that no other writer can add to. `maybe_done` is whether it may have been
    committed although nobody said so.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.maybe_done = False

    async def until_done(self) -> _Answer:
        """What was done. Its refusals, or aiokafka's error when Kafka refuses; otherwise it tries without end."""
        for attempt in itertools.count():
            try:
                return await self._once()
            except REFUSALS:
                raise
            except KafkaError:
                # Another writer shut this one out, or Kafka was away for a moment.
                pause = min(_PAUSE_SECONDS_MAX, _PAUSE_SECONDS * 2**attempt)
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 # not for secrets
        raise AssertionError

    async def _once(self) -> _Answer:
        producer = AIOKafkaProducer(
            **client_options(self._settings),
            transactional_id=transactional_id(self._settings),
            transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
            acks="all",
            retry_backoff_ms=20,
        )
        try:
            # From here on no other writer can add anything, unless it starts again and shuts this one out.
            await producer.start()
            answer = await self._write(producer)
            self.maybe_done = False
            return answer
        finally:
            with suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(producer.stop(), _STOP_SECONDS_MAX)

    @abstractmethod
    async def _write(self, producer: AIOKafkaProducer) -> _Answer:
        """Write it with `_commit`, unless there is nothing to write."""

    async def _commit(self, producer: AIOKafkaProducer, records: Sequence[OutRecord]) -> None:
        await producer.begin_transaction()
        # A producer that was shut out fails all of these, and only the first failure is waited for.
        _quiet(producer._txn_manager.wait_for_transaction_end())  # noqa: SLF001 # aiokafka shows it to nobody
        sent = []
        try:
            for record in records:
                topic, headers = self._settings.topic(record.topic), list(record.headers)
                partition = record.partition
                sent.append(await producer.send(topic, record.value, record.key, partition=partition, headers=headers))
                _quiet(sent[-1])
            await asyncio.gather(*sent)
            self.maybe_done = True
            await producer.commit_transaction()
        except (AssertionError, IllegalOperation):
            # What aiokafka says when the producer was shut out between two calls.
            raise ProducerFenced from None
        finally:
            for batches in producer._message_accumulator._batches.values():  # noqa: SLF001 # see above
                for batch in batches:
                    _quiet(batch._drain_waiter)  # noqa: SLF001 # see above


class Writer(Transaction[Changed]):
    """Makes one change."""

    def __init__(self, settings: Settings, follower: Follower, change: Change, now_ms: int) -> None:
        super().__init__(settings)
        self._follower = follower
        self._change = change
        self._now_ms = now_ms
        self._plan: Plan | None = None

    async def until_done(self) -> Changed:
        """As of every transaction."""
        self._follower.expect(self._change.id)
        try:
            return await super().until_done()
        finally:
            self._follower.forget(self._change.id)

    async def _write(self, producer: AIOKafkaProducer) -> Changed:
        await self._follower.read_to_end()
        # A change that was made although nobody said so is found by its record.
        if self._plan is not None and self._follower.has_arrived(self._change.id):
            return self._plan.changed
        made = self._plan = plan(self._follower.state, self._change, self._now_ms)
        if made.records:
            await self._commit(producer, made.records)
            await self._follower.arrival(self._change.id)
        return made.changed


class GrantWriter(Transaction[None]):
    """Makes one grant. One that was made although nobody said so is written again, under the same ids."""

    def __init__(self, settings: Settings, records: Sequence[OutRecord]) -> None:
        super().__init__(settings)
        self._records = records

    async def _write(self, producer: AIOKafkaProducer) -> None:
        await self._commit(producer, self._records)


def _quiet(future: "asyncio.Future[Any]") -> None:
    """Nobody need ask for the future's exception."""
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
