"""One process that starts the roles of a stack, restarts what dies, and stops everything in order."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from tollgate.embedded.children import die_with_parent
from tollgate.embedded.errors import NotReadyError
from tollgate.embedded.ports import listens
from tollgate.embedded.role_logs import last_words, log_path, open_log
from tollgate.embedded.stack import Role, Stack
from tollgate.embedded.stack_state import ProcessId, RoleState, StackState, end_leftovers, lock_data_dir

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long to wait before a role is started again, and when it counts as healthy.

    The wait doubles from `first_seconds` to `max_seconds` with every end that comes before `healthy_seconds` of life.
    """

    first_seconds: float = 0.2
    max_seconds: float = 30
    healthy_seconds: float = 30

    def delay_seconds(self, failures: int) -> float:
        """The wait after this many failures in a row: for example 0.2, 0.4, 0.8 s after the first three."""
        # Beyond 2^16 every policy is at its maximum, and a float would overflow at some time.
        return float(min(self.first_seconds * 2 ** min(failures - 1, 16), self.max_seconds))


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that starting and stopping may take, and how often a role may die before the start is given up.

    A role without a probe counts as ready when it has lived for `settle_seconds`.
    """

    ready_seconds: float = 120
    settle_seconds: float = 2
    stop_seconds: float = 15
    failures_at_start_max: int = 4


class Supervisor:
    """Runs one stack in one data directory, once.

    Use it from the main thread: children die with the thread that started them.
    """

    def __init__(
        self,
        stack: Stack,
        data_dir: Path,
        ports: Mapping[str, int],
        *,
        workers: int = 1,
        clickhouse_password: str = "",
        policy: RestartPolicy | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        self._stack = stack
        self._data_dir = data_dir
        self._policy = policy or RestartPolicy()
        self._deadlines = deadlines or Deadlines()
        own = ProcessId.of(os.getpid())
        self.state = StackState(own.pid, own.started, dict(ports), workers, clickhouse_password=clickhouse_password)
        self._stopping = asyncio.Event()
        self._ready: dict[str, asyncio.Event] = {}
        self._failures: dict[str, int] = {}
        self._gave_up: asyncio.Future[None] | None = None
        self._keepers: dict[str, asyncio.Task[None]] = {}

    async def run(self, on_ready: Callable[[StackState], None] = lambda _state: None) -> None:
        """Start everything, tell `on_ready`, and keep it running until SIGTERM, SIGINT or `stop`.

        Raises AlreadyRunningError, and NotReadyError when the stack does not come up; nothing is left running then.
        """
        with lock_data_dir(self._data_dir):
            for role in await asyncio.to_thread(end_leftovers, self._data_dir):
                logger.warning("ended a process that an earlier stack left behind", role=role)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
            try:
                await self._start_unless_stopped()
                if not self._stopping.is_set():
                    self.state.ready = True
                    self._write()
                    on_ready(self.state)
                await self._stopping.wait()
            finally:
                await self._stop_all()
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Begin the end; `run` returns when all is down. Further calls change nothing."""
        self._stopping.set()

    async def _start_unless_stopped(self) -> None:
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
        finally:
            for task in (starting, stopping):
                task.cancel()
                with suppress(asyncio.CancelledError, NotReadyError):
                    await task

    async def _start(self) -> None:
        self._gave_up = asyncio.get_running_loop().create_future()
        await self._start_and_wait(self._stack.services)
        if self._stack.prepare is not None:
            await self._unless_given_up(self._stack.prepare())
        await self._start_and_wait(self._stack.clients)

    async def _start_and_wait(self, roles: tuple[Role, ...]) -> None:
        for role in roles:
            self._ready[role.name] = asyncio.Event()
            self.state.processes.append(RoleState(role.name))
            self._keepers[role.name] = asyncio.create_task(self._keep(role))
        waits = [self._ready[role.name].wait() for role in roles]
        try:
            async with asyncio.timeout(self._deadlines.ready_seconds):
                await self._unless_given_up(asyncio.gather(*waits))
        except TimeoutError as error:
            late = [role.name for role in roles if not self._ready[role.name].is_set()]
            raise NotReadyError(
                f"{', '.join(late)} not ready within {self._deadlines.ready_seconds:.0f} s: read {self._log(late[0])}."
            ) from error

    async def _unless_given_up(self, work: Awaitable[object]) -> None:
        assert self._gave_up is not None
        task = asyncio.ensure_future(work)
        try:
            watched: set[asyncio.Future[Any]] = {task, self._gave_up}
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await self._gave_up
            await task
        finally:
            task.cancel()
            # Else asyncio tells the user of a cancellation that nobody looked at.
            with suppress(asyncio.CancelledError):
                await task

    async def _keep(self, role: Role) -> None:
        """Start the role again and again until the stack stops."""
        state = next(state for state in self.state.processes if state.role == role.name)
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            status = await self._run_once(role, state)
            if self._stopping.is_set():
                break
            failures = 1 if time.monotonic() - began >= self._policy.healthy_seconds else failures + 1
            delay = self._policy.delay_seconds(failures)
            logger.warning("role ended", role=role.name, status=status, again_in_seconds=round(delay, 1))
            if not self._ready[role.name].is_set() and failures >= self._deadlines.failures_at_start_max:
                self._give_up(role, status)
            state.state, state.pid, state.started = "restarting", None, ""
            state.restarts += 1
            self._write()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
        state.state, state.pid, state.started = "stopped", None, ""

    async def _run_once(self, role: Role, state: RoleState) -> int:
        with open_log(self._data_dir, role.name) as log:
            process = await asyncio.create_subprocess_exec(
                *role.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(role.environment) or None,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        state.state, state.pid, state.started = "starting", process.pid, ProcessId.of(process.pid).started
        self._write()
        probing = asyncio.create_task(self._probe(role, state))
        if self._stopping.is_set():
            # The stack stopped while the process was being made, so nobody has told it yet.
            process.terminate()
        try:
            return await process.wait()
        finally:
            probing.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _probe(self, role: Role, state: RoleState) -> None:
        if role.probe is None:
            await asyncio.sleep(self._deadlines.settle_seconds)
        while role.probe is not None and not (await role.probe() and self._listens(role, state)):  # noqa: ASYNC110 # elsewhere
            await asyncio.sleep(0.1)
        state.state = "running"
        self._ready[role.name].set()
        self._write()

    def _listens(self, role: Role, state: RoleState) -> bool:
        """Whether the role's own process answers: a stack that starts at the same time may have taken the port."""
        port = self.state.ports.get(role.name)
        return port is None or state.pid is None or listens(state.pid, port)

    def _give_up(self, role: Role, status: int) -> None:
        if self._gave_up is not None and not self._gave_up.done():
            times = self._deadlines.failures_at_start_max
            words = last_words(self._data_dir, role.name)
            text = f"{role.name} ended {times} times while it started, at last with status {status}"
            self._gave_up.set_exception(NotReadyError(f"{text}: read {self._log(role.name)}. Its last words: {words}"))

    async def _stop_all(self) -> None:
        self._stopping.set()
        self.state.ready = False
        for roles in (self._stack.clients, self._stack.services):
            await asyncio.gather(*(self._stop_role(role) for role in reversed(roles) if role.name in self._keepers))
        self._write()

    async def _stop_role(self, role: Role) -> None:
        keeper = self._keepers[role.name]
        state = next(state for state in self.state.processes if state.role == role.name)
        if state.process is not None:
            state.process.signal(signal.SIGTERM)
        _done, late = await asyncio.wait({keeper}, timeout=self._deadlines.stop_seconds)
        if late:
            logger.warning("role does not stop and is killed", role=role.name, after=self._deadlines.stop_seconds)
            # The role's own cancellation kills its process and waits for it.
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
            state.state, state.pid, state.started = "stopped", None, ""

    def _write(self) -> None:
        self.state.write(self._data_dir)

    def _log(self, role: str) -> Path:
        return log_path(self._data_dir, role)
