"""A whole installation in one thread: workers, broker, group, producers and faults, moved by seeded choices."""

from collections.abc import Callable
from random import Random
from typing import Any, Final, NoReturn

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError
from tests.simulation.at_rest import compare_at_rest
from tests.simulation.broker import Broker, BusyError
from tests.simulation.checker import Checker
from tests.simulation.journal import Journal
from tests.simulation.log import SimulatedWriter
from tests.simulation.people import People
from tests.simulation.poison import poisonous
from tests.simulation.process import Process
from tests.simulation.services import HOMES, PARTITIONS, RARE_MAX, Services
from tests.simulation.sink import Sink
from tests.simulation.sums import Wrong
from tests.simulation.wire import Operation, Wire, in_its_turn

from tollgate.ledger.core import Core
from tollgate.ledger.endings import MemoryEndings
from tollgate.ledger.lane import Lane
from tollgate.ledger.link import Link, partitions_of_lane

DELTA_PARTITIONS: Final = 2
# 2026-11-21T10:00Z; and the evenings before clocks are set back in Europe, and before a month and that in America.
STARTS_MS: Final = (1_795_255_200_000, 1_792_863_000_000, 1_793_467_800_000)
# The topics of usage and of entries may be given this many partitions while everything runs.
PARTITIONS_MAX: Final = 7
COMPACTED: Final = (
    *((topic, p) for topic in ("internal.user-state", "spend", "flags") for p in range(PARTITIONS)),
    *(("internal.shared-state", p) for p in range(DELTA_PARTITIONS)),
)

# How many of 10,000 steps start each of these; the other steps move on what is under way.
FAULTS: Final = (
    ("publish", 900), ("poll", 1800), ("tick", 150), ("clock", 25), ("compact", 120), ("rebalance", 60),
    ("session", 60), ("kill", 12), ("pause", 40), ("resume", 40), ("start", 40), ("redeploy", 4), ("expire", 10),
    ("grow", 4), ("stop", 15), ("hear", 90), ("change", 15), ("sink", 40),
)  # fmt: skip
USUAL: Final = {"publish", "poll", "tick", "clock", "compact", "sink"}
# So often time goes on at the end, until it has ended all that it ends.
_LATE_ROUNDS: Final = 6
FAILED_SENDS: Final = 400  # one send in this many fails


def _unheard(*_: Any) -> NoReturn:
    raise structlog.DropEvent


class World:
    """One run. The same seed makes the same run. `make_link` lets a test build engines with a defect.

    `choices` decide each step instead of the seed, until what is left is counted. `haste` makes all faults but those of
    time and of compaction as many times more frequent, for runs that are short.
    """

    def __init__(
        self, seed: int, core: Core | None = None, make_link: Callable[..., Link] = Link,
        choices: Random | None = None, haste: int = 1,
    ) -> None:  # fmt: skip
        self._at_the_end = Random(seed)  # a schedule, no secret
        self._random = choices or self._at_the_end
        self._core = core
        self._make_link = make_link
        self.now_ms = STARTS_MS[seed % len(STARTS_MS)]
        # All workers are on one machine, whose disk outlives them.
        self._endings = MemoryEndings()
        self.steps = 0
        self.done: dict[str, int] = {}
        self._people = People(self._did)
        self._journal = Journal(lambda: self.now_ms)
        self.checker = Checker(HOMES, PARTITIONS, DELTA_PARTITIONS, self._journal, self._people.rules_of)
        self.broker = self.checker.broker = Broker(lambda: self.now_ms, self.checker.transaction)
        self._waiting: list[Operation] = []
        self._lanes = 2
        self._partitions = self._entries_partitions = PARTITIONS
        self._processes: list[Process] = []
        self._members: list[Process] = []
        self._joining: list[Process] = []
        self._is_parking = False
        self._is_calm = False
        self._wrong: Wrong | None = None
        # How many operations in a row had to wait.
        self._refused = 0
        self._services = Services(self.broker, self._did)
        self._sink = Sink(self.broker, self._did)
        # In some runs ClickHouse is never there.
        self._sink.is_silent = seed % 7 == 3
        self._names = [name for name, _ in FAULTS]
        weights = [weight if name in USUAL else weight * haste for name, weight in FAULTS]
        self._weights = [sum(weights[: n + 1]) for n in range(len(weights))]
        self._deeds: dict[str, Callable[[], None]] = {
            name: getattr(self, f"_{name}") for name in self._names if name != "sink"
        }
        self._deeds["sink"] = self._sink_answers
        for _ in range(2):
            self._start()

    def _link(self, log: Any, fatal: Any) -> Link:
        return self._make_link(
            log=log, topic_name=lambda topic: topic.value, application="sim", now_ms=lambda: self.now_ms,
            usage_partitions=PARTITIONS, delta_partitions=DELTA_PARTITIONS, lanes=self._lanes, core=self._core,
            fatal=fatal, endings=self._endings, later=in_its_turn,
        )  # fmt: skip

    @property
    def identities(self) -> set[tuple[str, str]]:
        """Of all events that were published and must be counted."""
        return self._services.identities

    def run(self, steps: int) -> None:
        """Take `steps` steps with faults, then as many as it takes to finish; raises Wrong at the first difference."""
        # Workers that put records aside say so even at the highest level.
        structlog.configure(processors=[_unheard])
        try:
            with self._journal.kept(), poisonous():
                self._run(steps)
        finally:
            structlog.reset_defaults()
            for process in self._processes:
                process.kill("the run is over")

    def _run(self, steps: int) -> None:
        random, total = self._random, 10_000
        while self.steps < steps:
            self.steps += 1
            deed = random.randrange(total)
            if deed < self._weights[-1]:
                name = next(n for n, w in zip(self._names, self._weights, strict=True) if deed < w)
                self._deeds[name]()
            else:
                self._move()
            self._group()
        self._settle()
        compare_at_rest(self.checker, self.identities, self._people.rules, self._people.stopped, self.now_ms)

    def _did(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1

    def _move(self) -> bool:
        """One callback of one process, one operation of the broker, or one marker. False when nothing is under way."""
        ready = [p for p in self._processes if p.loop.ready and not p.paused]
        waiting, markers = len(self._waiting), len(self.broker.markers)
        if not (ready or waiting or markers):
            return False
        choice = self._random.randrange(2 * len(ready) + waiting + markers)
        if choice < 2 * len(ready):
            self._refused = 0
            ready[choice // 2].step()
        elif choice < 2 * len(ready) + waiting:
            self._carry_out(choice - 2 * len(ready))
        else:
            self.broker.write_marker(choice - 2 * len(ready) - waiting)
        return True

    def _carry_out(self, number: int) -> None:
        process, operation, line, fragile, future = self._waiting[number]
        if line is not None:
            owner, place = line
            for _, _, other, _, _ in self._waiting[:number]:
                if other is not None and other[0] is owner and (place is None or other[1] in (place, None)):
                    return
        failed = fragile and not self._is_calm and self._random.randrange(FAILED_SENDS) == 0
        result, error = None, KafkaTimeoutError() if failed else None
        # A failure may be that the broker never heard of it, or that its answer was lost.
        if not failed or self._random.random() < 1 / 2:
            try:
                result = operation()
            except BusyError:
                if not failed:
                    self._refused += 1
                    return
            except Exception as refused:  # noqa: BLE001 # the broker's answer
                error = error or refused
        self._refused = 0
        del self._waiting[number]
        if process.alive and not future.done():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

    # What the group does.

    def _group(self) -> None:
        """When every worker has given up its partitions, they are assigned anew."""
        if self._wrong is not None:
            raise self._wrong
        if not self._is_parking or any(p.alive and p.rebalance and not p.rebalance.done() for p in self._members):
            return
        self._is_parking = False
        self._members = [p for p in self._members if p.alive]
        shares: dict[Process, list[TopicPartition]] = {process: [] for process in self._members}
        if not shares:
            return
        # While a worker of release 0.1 is in the group, entries are nobody's.
        is_mixed = not self._is_calm and self._random.randrange(6) == 0
        entries = 0 if is_mixed else self._entries_partitions
        for topics in ((("usage", self._partitions), ("entries", entries)), (("internal.deltas", DELTA_PARTITIONS),)):
            for lane in range(self._lanes):
                share = shares[self._random.choice(self._members)]
                for topic, count in topics:
                    share += [TopicPartition(topic, p) for p in partitions_of_lane(lane, self._lanes, count)]
        for process, share in shares.items():
            process.acquire(share)

    def _rebalance(self) -> None:
        if self._is_parking or any(p.alive and p.rebalance and not p.rebalance.done() for p in self._members):
            return
        self._did("rebalance")
        self._members = [p for p in (*self._members, *self._joining) if p.alive]
        self._joining = []
        self._is_parking = True
        for process in self._members:
            process.park()

    def _session(self) -> None:
        """Members that are asleep are put out of the group, and do not know."""
        asleep = [p for p in self._members if p.paused]
        if asleep:
            self._did("zombie")
            self._members = [p for p in self._members if not p.paused]
            if not self._is_parking:
                self._rebalance()

    def _start(self) -> None:
        if sum(p.alive for p in self._processes) < 5:
            process = Process(
                str(len(self._processes)), self.broker, lambda p: Wire(p, self._waiting), self._link,
                self._people.policy, self._owns,
            )  # fmt: skip
            self._processes = [*(p for p in self._processes if p.alive or p.why == ""), process]
            self._joining.append(process)
            self._did("start")

    def _owns(self, process: Process, lane: Lane) -> None:
        writer = lane._writer
        assert isinstance(writer, SimulatedWriter)
        if writer.is_fenced():
            # It was overtaken meanwhile, and finds out when it commits.
            return
        for partition in lane.partitions:
            place = partition.stage.source.value, partition.number
            former, _ = self.checker.owners.get(place, (None, None))
            if former is not None and not former.is_fenced():
                # Not raised here, where the engine would take it for an error of its own.
                self._wrong = Wrong(f"two can write: {lane.id}, {place}")
            self.checker.owners[place] = writer, process

    # Faults, and requests to the workers.

    def _someone(self) -> Process | None:
        alive = [p for p in self._processes if p.alive]
        return self._random.choice(alive) if alive else None

    def _kill(self) -> None:
        process = self._someone()
        if process is not None:
            self._did("kill")
            process.kill("killed")

    def _pause(self) -> None:
        process = self._someone()
        if process is not None:
            self._did("pause")
            process.paused = True

    def _resume(self) -> None:
        asleep = [p for p in self._processes if p.alive and p.paused]
        if asleep:
            process = self._random.choice(asleep)
            process.paused = False
            rests = process.rebalance is None or process.rebalance.done()
            is_stranger = process not in self._members and process not in self._joining
            if is_stranger and rests and process.engine._link.lanes == self._lanes and self._random.random() < 1 / 2:
                # A worker that comes back under its old memory, if it finds out before it commits.
                self._joining.append(process)

    def _redeploy(self) -> None:
        """All workers are replaced by ones with another number of lanes; the old ones do not know, or are gone."""
        self._did("redeploy")
        for process in self._members:
            process.paused = self._random.random() < 1 / 2
        self._members, self._joining, self._is_parking = [], [], False
        self._lanes = self._random.choice((1, 2, 4))
        while len([p for p in self._processes if p.alive]) > 3:
            self._kill()
        for _ in range(2):
            self._start()
        self._rebalance()

    def _grow(self) -> None:
        """A topic has one more partition; producers know at once, and the group when it is next dealt out."""
        if self._partitions < PARTITIONS_MAX and self._random.randrange(4):
            self._did("grow")
            self._partitions += 1
        elif self._entries_partitions < PARTITIONS_MAX:
            self._did("grow entries")
            self._entries_partitions += 1

    def _expire(self) -> None:
        open_ones = len(self.broker.undecided())
        if open_ones:
            self._did("expire")
            self.broker.expire(self._random.randrange(open_ones))

    def _compact(self) -> None:
        place = self._random.choice(COMPACTED)
        self.broker.compact(place, self._random.randrange(self.broker.stable_end(place) + 1))

    def _clock(self) -> None:
        self.now_ms += self._random.randrange(1_000, 1_200_000)

    def _tick(self) -> None:
        process = self._someone()
        if process is not None and not process.paused and process.flow:
            process.tick()

    def _poll(self) -> None:
        process = self._someone()
        if process is not None and not process.paused and process.flow and process.engine.sources:
            tps = [tp for tp in process.engine.sources if tp in process.positions]
            if tps:
                process.poll(self._random.choice(tps), self._random.choice((1, 2, 5, 20)))

    def _publish(self) -> None:
        self._services.publish(self._random, self.now_ms, self._partitions, self._entries_partitions)

    def _stop(self) -> None:
        self._people.stop_or_resume(self._random)

    def _change(self) -> None:
        self._people.change(self._random)

    def _sink_answers(self) -> None:
        self._sink.answer(self._random)

    def _hear(self) -> None:
        process = self._someone()
        if process is not None and not process.paused:
            process.hear(self._people.policy)

    # The end.

    def _settle(self) -> None:
        """No more faults: whoever is alive runs on, two new workers take everything, and all is counted."""
        self._random = self._at_the_end
        for process in self._processes:
            process.paused = False
        self._members, self._joining, self._is_parking = [], [], False
        for process in self._processes:
            if process.alive and self._random.random() < 1 / 2:
                process.kill("killed at the end")
        self._is_calm = True
        idle = late = 0
        for _ in range(200 + 20 * RARE_MAX):
            if idle == 3:
                return
            if idle == 2 and late < _LATE_ROUNDS:
                # All reservations end, by the machine's time.
                self.now_ms += 2 * 3_600_000 if late == 0 else 10_000
                late, idle = late + 1, 1
            if not self._members or any(not p.alive for p in self._members):
                # A zombie that was amid an acquisition may still fence an heir.
                while sum(p.alive for p in self._processes) >= 5:
                    self._kill()
                self._start()
                self._rebalance()
            self._rest()
            idle = idle + 1 if not self._work() and self._members else 0
        raise Wrong("what there is to count is never counted")

    def _rest(self) -> None:
        """Let all that is under way come to its end."""
        for _ in range(50_000):
            self.steps += 1
            self._group()
            if not self._move():
                return
            if self._refused > 50 * len(self._waiting):
                # What dead workers left open ends by its time-out, and those who wait for that go on.
                self._refused = 0
                self._expire()
        raise Wrong("the workers do not come to rest")

    def _work(self) -> bool:
        """Let the members count all there is and write it; False when there was nothing."""
        worked = self._sink.answer_all()
        for process in self._members:
            if not process.alive:
                return True
            process.hear(self._people.policy)
            assert process.engine.ready or not process.assigned, "a lane is not recovered"
            for tp in list(process.engine.sources):
                while process.alive and process.poll(tp, 50):
                    worked = True
            if process.alive:
                process.tick()
            worked = worked or process.is_careful
        return worked
