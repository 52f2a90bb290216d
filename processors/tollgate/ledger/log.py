"""The interface to Kafka that the ledger needs: transactions of one writer, and committed records by position.

`KafkaLog` implements it on a real Kafka, the tests' simulation on a simulated one; both pass the same contract suite.
"""

from asyncio import Future
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from aiokafka import ConsumerRecord

from tollgate.ledger.outbox import OutRecord


class Writer(Protocol):
    """A transactional producer. One transaction at a time: `begin`, any number of `send`, their futures, `commit`.

    Every method raises what went wrong; a writer that was fenced by a later one of the same id fails at the latest when
    it commits. After any failure the writer must not be used again.
    """

    async def begin(self) -> None:
        """Open a transaction."""

    async def send(self, topic: str, partition: int, records: Sequence[OutRecord]) -> list["Future[Any]"]:
        """Hand records over; each future ends when the broker has its part of them, or with the error.

        Await them all before `commit`: Kafka would commit a transaction even though some records could not be sent.
        """

    async def commit(self) -> None:
        """Make everything sent since `begin` visible to readers of committed records, all at once."""

    async def close(self) -> None:
        """Give up the connection. A transaction that is open is left to be aborted by the next writer of the id."""


class Reader(Protocol):
    """Reads committed records."""

    async def end(self, topic: str, partition: int) -> int:
        """An offset before which everything is committed or aborted, and behind all that was written when asked.

        Waits until no transaction of any id is open. The last stable offset alone would not do: an open transaction of
        another id may hold it back, before records that the former owner has committed. Kafka's transaction time-out
        bounds the wait. If Kafka forgets an open transaction, the wait never ends; going on could count events twice.
        """

    def read(self, topic: str, partition: int, end: int) -> AsyncIterator[Sequence[ConsumerRecord]]:
        """The committed records before the offset `end`, from the first one that is kept, in batches.

        Ends by position: the last record may be a transaction's marker, or may have been compacted away.
        """


class Log(Protocol):
    """Where writers and readers come from."""

    async def writer(self, transactional_id: str) -> Writer:
        """Fence any former writer of this id, abort what it left open, and wait until that is done."""

    def reader(self) -> AbstractAsyncContextManager[Reader]:
        """A reader, closed at the end of the block."""
