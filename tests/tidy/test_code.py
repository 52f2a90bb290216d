"""Rules about the code that a linter cannot express."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.tidy import repository
from tests.tidy.repository import listing

from tollgate.schemas.topics import TOPIC_SPECS, Topic

MONEY_PATH = ("processors/tollgate/domain/", "processors/tollgate/ledger/", "schemas/tollgate/schemas/amounts.py")
# How long transactions take is measured in seconds; no amount passes here.
MEASUREMENTS = {Path("processors/tollgate/ledger/counters.py")}
# A wait is for a condition, with a deadline; the one sleep between two looks at it lives here.
WAITING = {Path("tests/waiting.py")}

PUBLIC_TOPICS = {
    "usage", "entries", "priced", "flags", "spend", "alerts", "decisions", "balances", "control", "audit",
    "dead-letters",
}  # fmt: skip


def floats(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Where a module makes a float: a literal, or a call of `float`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield node.lineno, repr(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
            yield node.lineno, "float(…)"


def blocking_sleeps(tree: ast.Module) -> Iterator[int]:
    """Lines that call `time.sleep`, however it was imported."""
    names = {"sleep"} if any(isinstance(n, ast.ImportFrom) and n.module == "time" for n in ast.walk(tree)) else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            by_module = (
                isinstance(called, ast.Attribute) and called.attr == "sleep" and ast.unparse(called.value) == "time"
            )
            by_name = isinstance(called, ast.Name) and called.id in names
            if by_module or by_name:
                yield node.lineno


def test_there_is_no_float_on_the_way_of_money() -> None:
    found = [
        f"{path}:{line}: {what}"
        for path in repository.source_files()
        if str(path).startswith(MONEY_PATH) and path not in MEASUREMENTS
        for line, what in floats(repository.tree(path))
    ]
    assert not found, listing(found)


def test_the_search_for_floats_finds_them() -> None:
    assert list(floats(ast.parse("a = 1.0\nb = float('2')\nc = 3 // 2"))) == [(1, "1.0"), (2, "float(…)")]


def test_no_test_sleeps_in_place_of_waiting_for_a_condition() -> None:
    found = [
        f"{path}:{line}"
        for path in repository.python_files("tests")
        if path not in WAITING and path.parts[1] != "bench"
        for line in blocking_sleeps(repository.tree(path))
    ]
    assert not found, listing(found)


def test_the_search_for_sleeps_finds_them() -> None:
    assert list(blocking_sleeps(ast.parse("import time\ntime.sleep(1)\n"))) == [2]
    assert list(blocking_sleeps(ast.parse("from time import sleep\nsleep(1)\n"))) == [2]


def test_every_topic_of_the_contract_is_created_by_code() -> None:
    specified = [spec.topic for spec in TOPIC_SPECS]
    assert sorted(specified) == sorted(Topic), "each topic has exactly one specification"
    assert {topic.value for topic in Topic if not topic.value.startswith("internal.")} == PUBLIC_TOPICS
