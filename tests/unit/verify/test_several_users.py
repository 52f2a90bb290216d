"""Which identities stand in more than one partition."""

from pathlib import Path

import numpy as np

from tollgate.verification.several_users import Marks, SeveralUsers


def test_identities_of_several_partitions_are_found_among_many(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    for partition in range(3):
        own = np.arange(10_000, dtype="u8") * np.uint64(3) + np.uint64(partition)
        both = np.array([2**64 - 1, 2**63], "u8") if partition else np.array([2**63], "u8")
        all_of_it = np.concatenate([own, both])
        marks.add(partition, all_of_it, np.arange(len(all_of_it), dtype="u8"))
    assert sorted(marks.repeated()) == [
        [(0, 10_000), (1, 10_001), (2, 10_001)],
        [(1, 10_000), (2, 10_000)],
    ]


def test_none_is_nothing_to_tell(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    assert list(marks.repeated()) == []
    marks.add(0, np.array([5], "u8"), np.array([1], "u8"))
    assert list(marks.repeated()) == []
    assert SeveralUsers().lines() == []
