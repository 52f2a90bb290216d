"""What the worker does besides counting: acquire partitions, run timers, report its lag, and end after a failure."""

import asyncio
import math
import time
from typing import Any, Final

import structlog
from aiokafka import TopicPartition

from tollgate.ledger import Engine, FileEndings, KafkaLog, Link, choose_core, fatal, fault_points
from tollgate.runtime.broker_limits import SESSION_MS
from tollgate.runtime.kafka import client_options
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic
from tollgate.worker.control import ControlReader
from tollgate.worker.transport import LedgerApp

log = structlog.get_logger("tollgate.worker")

# How often a lane notices that a window has ended, and the group learns how far the ledger is.
TICK_SECONDS: Final = 0.25
REPORT_SECONDS: Final = 1.0

# The group replaces a member whose heartbeats are missing for this long.
SESSION_SECONDS: Final = SESSION_MS / 1000

# A worker that has no assignment for this long, or reads its state for this long, is stuck, whatever the reason.
# Reading the state takes half a minute with fifty million identities.
UNASSIGNED_SECONDS_MAX: Final = 120.0
RECOVERY_SECONDS_MAX: Final = 900.0


class Life:
    """The timers and rebalance handler of one worker."""

    def __init__(self, app: LedgerApp, settings: Settings, control: ControlReader) -> None:
        self._app = app
        self._settings = settings
        self._control = control
        self._assigned_at = time.monotonic()

    async def acquire(self, _sender: Any, **_: Any) -> None:
        """Own what the group has assigned. Reading goes on only after this returns."""
        self._assigned_at = math.inf
        try:
            engine = self._app.engine or await self._start_engine()
            assignment = [TopicPartition(tp.topic, tp.partition) for tp in self._app.consumer.assignment()]
            if not assignment:
                log.info("standing by: the others have all lanes", lanes=self._settings.lanes)
            self._tell_growth(assignment)
            await engine.acquire(assignment, self._app.consumer.resume_recovered)
        except BaseException as error:  # noqa: BLE001 # a partition that is assigned but not recovered must not be read
            fatal("the assigned partitions could not be recovered", error)
        self._assigned_at = time.monotonic()

    def _tell_growth(self, assignment: list[TopicPartition]) -> None:
        counted = self._settings.usage_partitions
        for topic in (Topic.USAGE, Topic.ENTRIES):
            name = self._settings.topic(topic)
            added = sorted(tp.partition for tp in assignment if tp.topic == name and tp.partition >= counted)
            if added:
                log.warning(
                    "partitions of a topic beyond those that are counted: what they hold is forwarded, exactly once",
                    topic=name,
                    partitions=added,
                    counted=counted,
                )

    async def _start_engine(self) -> Engine:
        """Read every budget, price and shared flag before the first record, and follow them from then on."""
        settings = self._settings
        policy = await self._control.read_all()
        flags = self._control.flags
        if flags is not None:
            await flags.read_all()
        core = choose_core(settings.core)
        link = Link(
            KafkaLog(client_options(settings), core),
            settings.topic,
            settings.application,
            lambda: time.time_ns() // 10**6,
            usage_partitions=settings.usage_partitions,
            lanes=settings.lanes,
            core=core,
            endings=FileEndings(settings.data_dir / "faust" / settings.worker_id / "endings.json"),
            reached=fault_points(settings.fault_points),
            # Writing what thousands of new users have spent takes a lane a second or more on a busy machine, and the
            # lanes may all be due in one turn of the loop.
            awake=self._app.wake,
        )
        engine = self._app.engine = Engine(link, policy)
        self._app.has_started()
        self._app.add_future(self._control.follow(engine.set_policy))
        if flags is not None:
            self._app.add_future(flags.follow())
        return engine

    async def tick(self) -> None:
        """Let lanes notice the time, and notice ourselves when we slept or wait for ever."""
        self._app.wake()
        engine = self._app.engine
        now = time.monotonic()
        if engine is not None:
            engine.tick()
            for lane in engine.recovered_lanes:
                lane.checkpoint()
                # What a lane has to write may take long. Heartbeats and probes do not wait for all of them.
                await asyncio.sleep(0)
        waited = now - self._assigned_at
        if engine is not None and engine.ready:
            self._assigned_at = now
        elif engine is not None and engine.assigned:
            if waited > RECOVERY_SECONDS_MAX:
                fatal(f"the assigned partitions were not recovered within {RECOVERY_SECONDS_MAX:.0f} s")
        elif waited > UNASSIGNED_SECONDS_MAX:
            fatal(f"no partitions were assigned for {UNASSIGNED_SECONDS_MAX:.0f} s")

    async def report(self) -> None:
        """Tell the group how far the ledger is, for lag tools."""
        engine = self._app.engine
        if engine is not None and engine.ready:
            await self._app.consumer._thread.report(engine.committed_offsets())  # noqa: SLF001 # the thread is ours
