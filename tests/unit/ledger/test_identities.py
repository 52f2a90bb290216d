"""The memory of identities: exact at the horizon, whole after a restart, compact when it grows."""

import hashlib
import random

from tollgate.ledger.identities import IdentityIndex, pack

DAY_S = 24 * 60 * 60
NOW_S = 1_795_000_000


def digest(n: int) -> bytes:
    return hashlib.blake2b(str(n).encode(), digest_size=16).digest()


def filled(count: int) -> IdentityIndex:
    index = IdentityIndex()
    for n in range(count):
        index.add(digest(n), n * 2**40, NOW_S + n % 7)
        index.compact(NOW_S)
    return index


def test_an_identity_is_remembered_for_35_days_and_not_a_second_longer() -> None:
    index = IdentityIndex()
    assert index.is_remembered((1, NOW_S), NOW_S + 35 * DAY_S)
    assert not index.is_remembered((1, NOW_S), NOW_S + 35 * DAY_S + 1)


def test_frozen_identities_are_found_with_what_is_known_of_them() -> None:
    index = filled(600_000)
    assert len(index.recent) < 131_072
    assert len(index) == 600_000
    wanted = [digest(n) for n in (0, 131_071, 131_072, 262_143, 599_999, 600_000, -1)]
    found = index.frozen(wanted) | {d: index.recent[d] for d in wanted if d in index.recent}
    assert found == {digest(n): (n * 2**40, NOW_S + n % 7) for n in (0, 131_071, 131_072, 262_143, 599_999)}


def test_identities_that_share_their_first_half_are_told_apart() -> None:
    index = IdentityIndex()
    twins = [b"same-8by" + bytes([n]) * 8 for n in range(3)]
    for n, twin in enumerate(twins):
        index.add(twin, n, NOW_S)
    for n in range(131_072):
        index.add(digest(n), 9, NOW_S)
    index.compact(NOW_S)
    assert index.recent == {}
    assert index.frozen([*twins, b"same-8by" + b"\xff" * 8]) == {twin: (n, NOW_S) for n, twin in enumerate(twins)}


def test_runs_past_the_horizon_are_dropped() -> None:
    index = filled(131_072)
    later = NOW_S + 36 * DAY_S
    for n in range(131_072):
        index.add(digest(-1 - n), 1, later)
    index.compact(later)
    assert len(index) == 131_072


def test_what_was_packed_is_restored() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rnd = random.Random(seed)
    items = [(rnd.randbytes(16), (rnd.randrange(2**64), rnd.randrange(2**32))) for _ in range(1_000)]
    index = IdentityIndex()
    index.restore(pack(items), NOW_S)
    assert index.recent == dict(items)


def test_an_identity_counted_again_after_the_horizon_is_remembered_from_then() -> None:
    index = filled(131_072)
    later = NOW_S + 35 * DAY_S - 10
    index.add(digest(5), 77, later)
    for n in range(131_071):
        index.add(digest(-1 - n), 1, later)
    index.compact(later)
    assert index.frozen([digest(5)]) == {digest(5): (77, later)}
