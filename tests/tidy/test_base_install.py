"""What a service gets with `pip install tollgate`: a small install, and a client that is imported at once."""

import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.tidy.repository import ROOT

# Everything that the base install brings. A package more is a decision: each service that uses the SDK gets it.
BASE = {
    "aiohappyeyeballs", "aiohttp", "aiokafka", "aiosignal", "annotated-types", "async-timeout", "attrs", "cramjam",
    "frozenlist", "idna", "msgspec", "multidict", "packaging", "propcache", "pydantic", "pydantic-core",
    "typing-extensions", "typing-inspection", "tzdata", "yarl",
}  # fmt: skip
BYTES_MAX = 60_000_000
# Compiled modules of Python take about as much as their sources.
_COMPILED = 2

# What takes long to import, and what opens files or sockets. None of it is needed before the first call.
HEAVY = ("aiohttp", "aiokafka", "faust", "pydantic", "pydantic_core", "yarl", "zoneinfo")
# `asyncio` imports `ssl`, so a client that is made has it.
HEAVIER = (*HEAVY, "asyncio", "ssl", "logging", "msgspec")


def _with_all_they_need(requirements: list[Requirement]) -> set[str]:
    found: dict[tuple[str, frozenset[str]], None] = {}

    def add(requirement: Requirement) -> None:
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key in found:
            return
        found[key] = None
        for text in metadata.requires(key[0]) or ():
            needed = Requirement(text)
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*key[1], "")):
                add(needed)

    for requirement in requirements:
        add(requirement)
    return {name for name, _ in found}


def _bytes_of(name: str) -> int:
    distribution = metadata.distribution(name)
    paths = [Path(str(distribution.locate_file(path))) for path in distribution.files or ()]
    sizes = {path: path.stat().st_size for path in paths if path.suffix != ".pyc" and path.is_file()}
    return sum(size * _COMPILED if path.suffix == ".py" else size for path, size in sizes.items())


def test_the_base_install_is_what_a_service_needs_and_under_60_mb() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = _with_all_they_need([Requirement(text) for text in project["project"]["dependencies"]])
    assert names == BASE
    only = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    own = [path for folder in only for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert len(own) > 300
    ours = sum(path.stat().st_size * (_COMPILED if path.suffix == ".py" else 1) for path in own)
    assert ours + sum(map(_bytes_of, names)) < BYTES_MAX


def imported(code: str) -> list[str]:
    """The modules that a fresh interpreter imports for it, in order, without those that it starts with."""
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import sys; sys.stderr.write('begun\\n'); {code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = ran.stderr.partition("begun\n")[2].splitlines()
    return [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]


def test_importing_the_sdk_imports_nothing_else_of_ours() -> None:
    found = imported("import tollgate.sdk")
    assert [name for name in found if name.startswith("tollgate")] == ["tollgate", "tollgate.sdk"]
    assert [name for name in found if name.partition(".")[0] in HEAVIER] == []


def test_a_client_is_made_without_what_is_heavy() -> None:
    code = 'from tollgate.sdk import *; Tollgate(kafka="127.0.0.1:9", source="s").close()'
    names = "AsyncTollgate, BlockedError, Decision, InvalidEventError, Tollgate, UnavailableError"
    found = imported(code.replace("*", names))
    assert "tollgate.sdk.engine" in found
    assert [name for name in found if name.partition(".")[0] in HEAVY] == []
    # Both faces, the settings, the spool and what decides: a hundred and a half of the standard library's beside.
    assert len([name for name in found if name.startswith("tollgate")]) < 45
    assert len(found) < 320


def test_the_old_names_are_still_there() -> None:
    code = (
        "import json, tollgate.sdk as sdk; "
        "print(json.dumps({name: type(getattr(sdk, name)).__name__ for name in sdk.__all__}))"
    )
    told = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert {"FlagReader", "UsagePublisher", "Reservation", "Decision", "BlockedError"} <= told.keys()
    assert "module" not in told.values()
