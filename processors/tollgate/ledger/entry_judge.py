"""What becomes of the entries of a partition that are no usage events: reservations, releases and credits."""

from collections.abc import Callable
from typing import Final

from aiokafka import ConsumerRecord

from tollgate.domain.credits import BUCKETS_MAX
from tollgate.domain.windows import Horizon
from tollgate.ledger.accounts import Accounts
from tollgate.ledger.gate import Gate
from tollgate.ledger.identities import IdentityMemory
from tollgate.ledger.reservations import Key
from tollgate.ledger.tally import Tally
from tollgate.schemas.entries import CreditEntry, ReleaseEntry, ReservationEntry
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_codec import EventRecord
from tollgate.schemas.usage_identity import entry_digest, entry_fingerprint
from tollgate.schemas.vocabulary import EntryType

_TOO_MANY_GRANTS: Final = Refusal(
    RefusalReason.INVALID,
    f"subject: the user has {BUCKETS_MAX:,} grants of which something is left; grant again when some are spent",
)


class EntryJudge:
    """Changes the accounts. `spread_user_sums` adds to the users what was counted so far, before a decision."""

    def __init__(
        self,
        gate: Gate,
        accounts: Accounts,
        identities: IdentityMemory,
        tally: Tally,
        horizon: Horizon,
        spread_user_sums: Callable[[], None],
    ) -> None:
        self._gate = gate
        self._accounts = accounts
        self._identities = identities
        self._tally = tally
        self._horizon = horizon
        self._spread_user_sums = spread_user_sums

    def judge(self, record: ConsumerRecord, entry: ReservationEntry | ReleaseEntry | CreditEntry, topic: Topic) -> None:
        """Carry out a readable entry, unless something forbids it."""
        if not self._gate.admits(record, entry.subject, entry.time_ms, topic):
            return
        now_ms = max(self._horizon.clock_ms, min(record.timestamp, self._horizon.limit_ms))
        digest = entry_digest(entry.type, entry.source, entry.id)
        said = entry_fingerprint(entry.subject, _content(entry))
        seen = self._identities.get(digest)
        is_repeated = seen is not None and self._identities.is_remembered(seen, now_ms // 1000)
        if is_repeated and seen is not None and seen[0] != said:
            self._gate.repeated(record, same=False)
            if isinstance(entry, ReservationEntry):
                self._accounts.refuse(entry, now_ms)
            return
        if isinstance(entry, ReservationEntry):
            if is_repeated:
                self._accounts.repeat(entry, now_ms)
            else:
                self._spread_user_sums()
                self._accounts.reserve(entry, now_ms)
        elif is_repeated:
            self._gate.repeated(record, same=True)
        elif isinstance(entry, ReleaseEntry):
            key = (entry.subject, entry.source, entry.data.reservation_id)
            self._accounts.settle(key, 0, 0, more=False, now_ms=now_ms, is_read=self._is_read(key, now_ms))
        elif not self._accounts.apply_credit(entry, now_ms):
            self._gate.refuse(record, _TOO_MANY_GRANTS)
            return
        if not is_repeated:
            self._tally.add_identity(digest, said, now_ms // 1000)

    def account_for(self, event: EventRecord, cost_picousd: int, credits_nano: int) -> None:
        """Burn the credits of an event that is counted, and settle the reservation that it names."""
        now_ms = self._horizon.clock_ms
        if credits_nano:
            self._accounts.burn(event.subject, credits_nano, now_ms)
        name = event.data.reservation_id
        if name:
            key = (event.subject, event.source, name)
            is_open = self._accounts.reservations.find(key) is not None
            is_read = is_open or self._is_read(key, now_ms)
            self._accounts.settle(key, cost_picousd, credits_nano, event.data.more, now_ms, is_read=is_read)

    def _is_read(self, key: Key, now_ms: int) -> bool:
        """Whether a reservation was read before."""
        _, source, name = key
        seen = self._identities.get(entry_digest(EntryType.RESERVATION, source, name))
        return seen is not None and self._identities.is_remembered(seen, now_ms // 1000)


def _content(entry: ReservationEntry | ReleaseEntry | CreditEntry) -> dict[str, object]:
    """What two records of the same entry have in common. Who repeats a request may read the answer elsewhere."""
    return entry.data.model_dump(mode="json", exclude={"reply_to", "reply_partition"})
