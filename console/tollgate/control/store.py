"""The control topic in memory, and the only way in which it is changed."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
    UnknownTopicOrPartitionError,
)

from tollgate.control.change import OutRecord, new_change
from tollgate.control.errors import UnreachableError
from tollgate.control.follower import Follower
from tollgate.control.records import Changed, Held
from tollgate.control.writer import GrantWriter, Writer
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import AssignmentRecord, BudgetRecord, PlanRecord, PriceRecord

# A person waits for an answer; a broker that is there answers within milliseconds.
CHANGE_SECONDS_MAX: Final = 10.0


class ControlStore:
    """The control topic in memory, and the only way in which it is changed.

    Every change begins with Kafka's `InitProducerId` for one transactional id of the whole installation. It ends
    whatever another writer had begun and shuts that writer out, in whichever process it is. Then the topic is read to
    its end, the version is compared, and the record and its audit record are written in one transaction. A writer that
    was shut out starts again. So two writers never both win, and no lock is needed but Kafka.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._follower = Follower(settings)
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Read the topic to its end, then follow it in the background. UnreachableError after 10 s; may be repeated."""
        try:
            async with asyncio.timeout(CHANGE_SECONDS_MAX):
                await self._follower.start()
        except (KafkaError, OSError) as error:
            await self._follower.stop()
            raise self._unreachable(error) from None

    async def stop(self) -> None:
        """Stop following and close the connections."""
        await self._follower.stop()

    @property
    def as_of_ms(self) -> int:
        """When the topic was last known to be read to its end; 0 before that."""
        return self._follower.as_of_ms

    def get(self, key: str) -> Held | None:
        """The record under a key of the topic, such as `budget/user/*:month:usd`."""
        return self._follower.state.held.get(key)

    def records(self, prefix: str) -> list[Held]:
        """The valid records whose key starts with this: `budget/`, `price/`, `token/`."""
        return [held for key, held in self._follower.state.held.items() if key.startswith(prefix)]

    def unreadable(self, prefix: str) -> list[str]:
        """Keys that start with this and whose record is invalid. Such a record can be replaced and removed."""
        return sorted(key for key in self._follower.state.unreadable if key.startswith(prefix))

    def budgets(self) -> dict[str, BudgetRecord]:
        """The valid budgets by the id of their key."""
        return dict(self._follower.state.budgets)

    def plans(self) -> dict[str, PlanRecord]:
        """The valid plans by the id of their key, without those that are shipped."""
        return dict(self._follower.state.plans)

    def assignments(self) -> dict[str, AssignmentRecord]:
        """Who has which plan: by `user/<name>`, and `default` for everybody else."""
        return dict(self._follower.state.assignments)

    def prices(self) -> dict[str, PriceRecord]:
        """The valid prices by the id of their key."""
        return dict(self._follower.state.prices)

    def on_change(self, call: Callable[[str], None]) -> None:
        """Call this with the key of each record that arrives from now on."""
        self._follower.on_change(call)

    async def change(
        self,
        key: str,
        value: dict[str, Any] | None,
        *,
        actor: str,
        reason: str = "",
        expect_version: int | None = None,
        idempotency_key: str = "",
        request: str | None = None,
    ) -> Changed:
        """Set the record under the key, or remove it with None as value. On return the change and its audit record
        are committed, and `get` shows it.

        `expect_version` is the version that the record must have; 0 that there must be none, None that any will do.
        The actor, the reason, the version and the time in `value` are replaced by those of the change.

        The same `idempotency_key` of the same actor within 24 hours does nothing and gives the same answer again. What
        the same request is follows from the other arguments, or from `request` where they differ by chance, as a new
        token's do.

        InvalidRecordError, NoRecordError, VersionConflictError, RepeatedKeyError; UnreachableError after 10 s.
        """
        now_ms = time.time_ns() // 1_000_000
        change = new_change(
            f"{now_ms:012x}{secrets.token_hex(8)}",
            key,
            value,
            actor=actor,
            reason=reason,
            expect_version=expect_version,
            idempotency_key=idempotency_key,
            request=request,
        )
        writer = Writer(self._settings, self._follower, change, now_ms)
        try:
            async with asyncio.timeout(CHANGE_SECONDS_MAX), self._lock:
                return await writer.until_done()
        except (KafkaError, OSError) as error:
            raise self._unreachable(error, maybe_done=writer.maybe_done) from None

    async def grant(self, records: Sequence[OutRecord]) -> None:
        """Write what `grant_records` made. On return the credits and their audit record are committed, both or neither.
        Needs no `start`. UnreachableError after 10 s: the same grant may be written again, and is granted once.
        """
        try:
            async with asyncio.timeout(CHANGE_SECONDS_MAX), self._lock:
                await GrantWriter(self._settings, records).until_done()
        except (KafkaError, OSError) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception, *, maybe_done: bool = False) -> UnreachableError:
        address = self._settings.kafka_bootstrap_servers
        if isinstance(error, UnknownTopicOrPartitionError):
            text = f"Kafka at {address} lacks a topic of Tollgate: create them with `tollgate topics apply`."
        elif isinstance(error, (OSError, *_AWAY)):
            text = (
                f"Kafka at {address} cannot be reached: start the stack with `tollgate up`, "
                "or set TOLLGATE_KAFKA_BOOTSTRAP_SERVERS."
            )
        else:
            text = f"Kafka at {address} refused the request: {str(error) or type(error).__name__}."
        return UnreachableError(
            f"{text} The change may have been made: look before you repeat it." if maybe_done else text
        )


_AWAY: Final = (KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, RequestTimedOutError)
