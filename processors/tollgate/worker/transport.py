"""Faust's transport, with records of the ledger's topics handed to the engine in one call per batch.

Stock Faust makes four asyncio tasks per message before any work is done, acknowledges messages that failed, and commits
offsets past messages still being processed. So only the consumer thread, group membership, the sticky assignor and
rebalances are Faust's; no usage event passes through its streams, tables or commits.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import faust
import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from mode import Service

from tollgate.ledger import Core, Engine, Lane, Source, fatal
from tollgate.worker.assignor import speak_0_1
from tollgate.worker.fetching import ask_for_whole_batches

log = structlog.get_logger("tollgate.worker")

# How often a lane that has its state looks whether a rebalance is over.
_REST_SECONDS: Final = 0.02
# While some partition's records wait to be counted, a broker is asked for those of others only after so long. Else it
# would be asked for entries alone whenever counting takes long, and hold the answer, and with it all usage, for as long
# as no entry comes.
_PREFETCH_SECONDS: Final = 1.0
# How often a member looks whether its group refuses it.
_WATCH_SECONDS: Final = 1.0


class LedgerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc] # Faust ships no types
    """The thread that fetches; it reads committed records only, because forwarded ones come in transactions."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # noqa: SLF001 # Faust has no setting for it
        if self.app.core == "compiled":
            ask_for_whole_batches(consumer)
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        speak_0_1(self._consumer, self.app.assignor)
        self._consumer._fetcher._prefetch_backoff = _PREFETCH_SECONDS  # noqa: SLF001 # Faust has no setting for it

    async def report(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Tell the group how far the ledger is, for lag tools. The state topic has the truth: errors are harmless."""
        await self.call_thread(self._report, offsets)

    async def _report(self, offsets: Mapping[TopicPartition, int]) -> None:
        assigned = self.assignment()
        known = {tp: OffsetAndMetadata(offset, "") for tp, offset in offsets.items() if ensure_TP(tp) in assigned}
        if known:
            try:
                await self._ensure_consumer().commit(known)
            except KafkaError as error:
                log.debug("the group's offsets were not updated", error=repr(error))

    def waiting(self) -> dict[TopicPartition, int]:
        """Offsets between the last stable one and the end, by partition, as of the last fetch.

        They are of transactions that are open, and of what was written after the first of these began.
        """
        consumer = self._consumer
        found: dict[TopicPartition, int] = {}
        for tp in consumer.assignment() if consumer is not None else ():
            end, stable = consumer.highwater(tp), consumer.last_stable_offset(tp)
            if end is not None and stable is not None:
                found[tp] = max(0, end - stable)
        return found

    def group_error(self) -> BaseException | None:
        """The error that keeps this member out of the group for good, or None. aiokafka raises it only in a fetch."""
        coordinator = self._consumer._coordinator if self._consumer is not None else None  # noqa: SLF001 # no public way
        return coordinator._pending_exception if coordinator is not None else None  # noqa: SLF001 # no public way

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Faust looks for stalled streams here. The ledger has no streams; `/ready` tells when it is stuck."""


class LedgerConsumer(driver.Consumer):  # type: ignore[misc] # Faust ships no types
    """Hands batches to the engine; the engine's offsets, not the group's, say where to read on."""

    app: "LedgerApp"

    def _new_consumer_thread(self) -> LedgerThread:
        return LedgerThread(self, loop=self.loop, beacon=self.beacon)

    @Service.task  # type: ignore[untyped-decorator] # mode ships no types
    async def _watch_group(self) -> None:
        # Timers of the app only run once partitions were assigned; this is for a worker that never gets any.
        while not self.should_stop:
            await self.sleep(_WATCH_SECONDS)
            error = self._thread.group_error()
            if error is not None:
                fatal("the group does not accept this worker; all of its workers need the same TOLLGATE_LANES", error)

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                generation = self.app.consumer_generation_id
                records, _ = await self._wait_next_records(1.0)
                engine = self.app.engine
                if engine is None:
                    continue
                for lane, batches in _by_lane(engine, records or {}).items():
                    for source, batch in batches:
                        if not self.flow_active or generation != self.app.consumer_generation_id:
                            # Fetched before a rebalance, so they may not follow the offset that is read next.
                            source.must_seek = True
                            continue
                        if source.suspect is None:
                            lane.count(source, batch)
                        else:
                            await lane.count_carefully(source, batch)
                        # Let transactions proceed and probes be answered between two partitions' batches.
                        await asyncio.sleep(0)
                    # One transaction for all that was fetched of the lane's partitions.
                    lane.checkpoint()
                await engine.keep_pace()
                await self._seek_dropped(engine)
        except asyncio.CancelledError:
            raise
        except self.consumer_stopped_errors as error:
            if not self.app.should_stop:
                fatal("the consumer stopped", error)
        except BaseException as error:  # noqa: BLE001 # an unexpected error must not reach Faust's committing stop
            fatal("counting failed", error)

    async def perform_seek(self) -> None:
        await super().perform_seek()
        engine = self.app.engine
        if engine is None:
            return
        recovering = {tp for tp in self.assignment() if tp.topic in engine.topics and tp not in engine.sources}
        # Read on as soon as they have their state, in `resume_recovered`.
        self.pause_partitions(recovering)
        for source, _ in list(engine.sources.values()):
            await self._seek_source(source)

    async def _seek_dropped(self, engine: Engine) -> None:
        """Fetch again what was dropped. Nothing is being fetched now, so what comes next follows the seek."""
        if self.flow_active and not self.app.rebalancing:
            for source, _ in list(engine.sources.values()):
                if source.must_seek:
                    with suppress(IllegalStateError):
                        # Given up meanwhile; if it comes back, the rebalance ends with a seek.
                        await self._seek_source(source)

    async def resume_recovered(self, lane: Lane) -> None:
        """Read the partitions of a lane that has its state now, once the group is at rest. Cancelled if it moves on."""
        while True:
            while self.app.rebalancing:  # noqa: ASYNC110 # Faust has a flag and no event
                await asyncio.sleep(_REST_SECONDS)
            generation = self.app.consumer_generation_id
            try:
                for source in lane.sources:
                    await self._seek_source(source)
            except IllegalStateError:
                # The next rebalance has begun between two steps; whether the lane is still ours is seen after it.
                if generation == self.app.consumer_generation_id and not self.app.rebalancing:
                    raise
            else:
                self.resume_partitions({ensure_TP(source.tp) for source in lane.sources})
                return

    async def _seek_source(self, source: Source) -> None:
        await self.seek(ensure_TP(source.tp), source.next_offset)
        source.must_seek = False

    async def on_partitions_revoked(self, revoked: Any) -> None:
        self.app.wake()
        # No batch may be applied any more; what was applied is committed while the group waits for us.
        self.stop_flow()
        if self.app.engine is not None:
            await self.app.engine.park(revoked)
        await super().on_partitions_revoked(revoked)

    async def on_stop(self) -> None:
        if self.app.engine is not None:
            self.stop_flow()
            await self.app.engine.close()
        await super().on_stop()


def _by_lane(engine: Engine, records: Mapping[Any, Any]) -> dict[Lane, list[tuple[Source, Any]]]:
    """What was fetched, lane by lane. Records of partitions that are not recovered are dropped; a seek follows."""
    lanes: dict[Lane, list[tuple[Source, Any]]] = defaultdict(list)
    for tp, batch in records.items():
        owned = engine.sources.get(TopicPartition(tp.topic, tp.partition))
        if owned is not None:
            source, lane = owned
            # What the compiled core counts comes as one object that has all the records.
            lanes[lane].append((source, batch if isinstance(batch[0], ConsumerRecord) else batch[0]))
    return lanes


class LedgerTransport(driver.Transport):  # type: ignore[misc] # Faust ships no types
    """Makes `LedgerConsumer`s."""

    Consumer = LedgerConsumer


class LedgerApp(faust.App):  # type: ignore[misc] # Faust ships no types
    """A Faust app without tables, whose consumer feeds an engine."""

    # Which code counts, and with it in which form the consumer fetches.
    core: Core = "python"

    # Made with the first assignment, when Kafka is known to answer; no record is fetched before.
    engine: Engine | None = None

    _awake_at: float | None = None

    def wake(self) -> None:
        """Called several times a second. A process that slept through its session must not come back.

        Another worker may own its partitions and its id by now. The producers are fenced, so nothing could be
        counted twice; but by joining again under the same id the sleeper would push its successor out.
        """
        now = time.monotonic()
        if self._awake_at is not None and now - self._awake_at > self.conf.broker_session_timeout:
            fatal(f"this process slept for {now - self._awake_at:.0f} s, longer than its session in the group")
        self._awake_at = now

    def has_started(self) -> None:
        """Nothing was owned before. Reading budgets and flags from a busy broker may take long: that was no sleep."""
        self._awake_at = time.monotonic()

    def _new_transport(self) -> LedgerTransport:
        return LedgerTransport(self.conf.broker_consumer, self)
