"""The memory of identities, compiled and not: exact at the horizon, whole after a restart, small when it grows."""

import hashlib
import random
from collections.abc import Callable

import pytest

from tollgate.ledger.identities import IdentityIndex, IdentityMemory, pack
from tollgate.schemas.topics import DEDUPE_HORIZON_MS

DAY_S = 24 * 60 * 60
NOW_S = 1_795_000_000

New = Callable[[int], IdentityMemory]


def compiled(horizon_ms: int) -> IdentityMemory:
    native = pytest.importorskip("tollgate.ledger._native", reason="there is no compiler here, so no compiled core")
    memory: IdentityMemory = native.Identities(horizon_ms)
    return memory


@pytest.fixture(params=[IdentityIndex, compiled], ids=["python", "compiled"])
def new(request: pytest.FixtureRequest) -> New:
    chosen: New = request.param
    chosen(DEDUPE_HORIZON_MS)
    return chosen


@pytest.fixture
def memory(new: New) -> IdentityMemory:
    return new(DEDUPE_HORIZON_MS)


def digest(n: int) -> bytes:
    return hashlib.blake2b(str(n).encode(), digest_size=16).digest()


def fill(memory: IdentityMemory, numbers: range, seen_s: int = NOW_S) -> None:
    for n in numbers:
        memory.add(digest(n), abs(n) * 2**40, seen_s + n % 7)
        if n % 1_000 == 0:
            memory.compact(seen_s)
    memory.compact(seen_s)


def live(memory: IdentityMemory, digests: list[bytes], now_s: int) -> dict[bytes, tuple[int, int]]:
    return {d: seen for d, seen in memory.known(digests).items() if memory.is_remembered(seen, now_s)}


def test_an_identity_is_remembered_for_35_days_and_not_a_second_longer(memory: IdentityMemory) -> None:
    memory.add(digest(1), 7, NOW_S)
    at_the_horizon, later = NOW_S + 3_024_000, NOW_S + 3_024_001
    memory.compact(at_the_horizon)
    assert live(memory, [digest(1)], at_the_horizon) == {digest(1): (7, NOW_S)}
    assert live(memory, [digest(1)], later) == {}


def test_an_identity_at_the_horizon_outlives_every_clean_up_and_a_second_later_none(new: New) -> None:
    # As if the worker had counted for 35 days: the clean-up has been through all of the memory.
    for age_s, kept in ((3_024_000, 131_072), (3_024_001, 0)):
        memory = new(DEDUPE_HORIZON_MS)
        for n in range(131_072):
            memory.add(digest(n), 1, NOW_S)
        memory.compact(NOW_S)
        for n in range(131_072):
            memory.add(digest(-1 - n), 2, NOW_S + age_s)
        for _ in range(1_000):
            memory.compact(NOW_S + age_s)
        assert len(memory) == 131_072 + kept
        assert len(live(memory, [digest(n) for n in range(131_072)], NOW_S + age_s)) == kept


def test_what_is_known_is_found_among_many(memory: IdentityMemory) -> None:
    fill(memory, range(600_000))
    assert len(memory) == 600_000
    wanted = [digest(n) for n in (0, 131_071, 131_072, 262_143, 599_999, 600_000, -1)]
    found = {digest(n): (n * 2**40, NOW_S + n % 7) for n in (0, 131_071, 131_072, 262_143, 599_999)}
    assert memory.known(wanted) == found
    assert memory.get(digest(599_999)) == (599_999 * 2**40, NOW_S + 599_999 % 7)
    assert memory.get(digest(-1)) is None
    # 28 bytes each, some places free; what is recent costs the reference more.
    assert memory.nbytes < 100 * 600_000


def test_identities_that_share_their_first_half_are_told_apart(memory: IdentityMemory) -> None:
    twins = [b"same-8by" + bytes([n]) * 8 for n in range(240)]
    memory.restore(pack((twin, (n, NOW_S)) for n, twin in enumerate(twins[:100])), NOW_S)
    for n, twin in enumerate(twins[100:200], 100):
        memory.add(twin, n, NOW_S)
    fill(memory, range(131_072))
    memory.restore(pack((twin, (n, NOW_S)) for n, twin in enumerate(twins[200:], 200)), NOW_S)
    assert memory.known(twins) == {twin: (n, NOW_S) for n, twin in enumerate(twins)}
    assert memory.get(b"same-8by" + b"\xff" * 8) is None


def test_what_is_past_the_horizon_gives_its_memory_back(memory: IdentityMemory) -> None:
    fill(memory, range(300_000))
    most = memory.nbytes
    later = NOW_S + 36 * DAY_S
    fill(memory, range(-140_000, 0), later)
    for hour in range(3):
        for _ in range(300):
            memory.compact(later + hour * 3_600)
    # The reference forgets by the 131,072; those that were counted along with later ones stay a while.
    assert 140_000 <= len(memory) < 140_000 + 131_072
    assert memory.nbytes < most


def test_what_was_packed_is_restored(memory: IdentityMemory) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rnd = random.Random(seed)
    items = [(rnd.randbytes(16), (rnd.randrange(2**64), NOW_S - rnd.randrange(100))) for _ in range(1_000)]
    memory.restore(pack(items), NOW_S)
    assert len(memory) == 1_000
    assert memory.known([d for d, _ in items]) == dict(items)


def test_half_a_row_is_refused(memory: IdentityMemory) -> None:
    with pytest.raises(ValueError, match="whole rows"):
        memory.restore(b"x" * 27, NOW_S)


def test_rows_past_the_horizon_are_not_restored(memory: IdentityMemory) -> None:
    memory.restore(pack([(digest(1), (1, NOW_S - 3_024_001))]), NOW_S)
    memory.restore(pack([(digest(2), (1, NOW_S - 3_024_000))]), NOW_S)
    assert memory.known([digest(1), digest(2)]) == {digest(2): (1, NOW_S - 3_024_000)}


def test_an_identity_counted_again_after_the_horizon_is_remembered_from_then(memory: IdentityMemory) -> None:
    fill(memory, range(131_072))
    later = NOW_S + 3_024_010
    memory.add(digest(5), 77, later)
    fill(memory, range(-131_072, 0), later)
    assert memory.known([digest(5)]) == {digest(5): (77, later)}
    assert live(memory, [digest(5)], later + 3_024_000) == {digest(5): (77, later)}


def test_after_a_restart_the_later_sight_of_an_identity_counts(memory: IdentityMemory) -> None:
    later = NOW_S + 3_024_010
    memory.restore(pack([(digest(5), (1, NOW_S + 10)), (digest(6), (2, later))]), later)
    memory.restore(pack([(digest(5), (77, later))]), later)
    assert memory.known([digest(5), digest(6)]) == {digest(5): (77, later), digest(6): (2, later)}


def test_both_memories_know_the_same_whatever_comes_in_which_order(new: New) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rnd = random.Random(seed)
    horizon_s = 1_000
    memory = new(horizon_s * 1000)
    wanted: dict[bytes, tuple[int, int]] = {}
    digests = [digest(n) for n in range(20_000)]
    now_s = NOW_S
    for _ in range(50):
        now_s += rnd.randrange(20)
        sights = [(d, (rnd.randrange(2**64), now_s)) for d in rnd.sample(digests, 500)]
        memory.restore(pack(sights), now_s)
        wanted.update(sights)
    for _ in range(150):
        now_s += rnd.randrange(20)
        for d in rnd.choices(digests, k=500):
            seen = wanted.get(d)
            if seen is None or now_s - seen[1] > horizon_s:
                wanted[d] = (rnd.randrange(2**64), now_s)
                memory.add(d, *wanted[d])
        memory.compact(now_s)
    remembered = {d: seen for d, seen in wanted.items() if now_s - seen[1] <= horizon_s}
    assert live(memory, digests, now_s) == remembered
    assert remembered
