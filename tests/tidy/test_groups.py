"""`python -m tests` runs every test, and each once."""

from pathlib import Path

from tests.__main__ import GROUPS

TESTS = Path(__file__).resolve().parents[1]


def test_every_test_is_in_one_group() -> None:
    named = [TESTS / name for names in GROUPS.values() for name in names]
    assert all(folder.is_dir() for folder in named)
    for file in TESTS.rglob("test_*.py"):
        assert len([folder for folder in named if folder in file.parents]) == 1, file
