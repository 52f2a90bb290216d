"""Programs that are not Python's: what a machine lacks is told in a skip, and in CI it is a failure."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

BUILD_SECONDS_MAX = 240
# A machine without a registry says so within some seconds.
NPM_CI = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1")


class MissingToolError(Exception):
    """A program is not installed, or cannot get what it needs."""


def leave_out(error: MissingToolError) -> None:
    """Skip the test, except in CI, which has everything."""
    assert "CI" not in os.environ, error
    pytest.skip(str(error))


def find(program: str, package: str, *, least: tuple[int, ...] = (), version: str = "--version") -> str:
    """The program's path. MissingToolError names Debian's package; `version` is how the program is asked for its own,
    and `least` the oldest that will do."""
    found = shutil.which(program)
    if found is None:
        raise MissingToolError(f"{program} is missing: apt-get install {package}")
    if least:
        told = re.search(r"\d+(?:\.\d+)*", _run((found, version), Path.cwd(), None).stdout)
        if told is None or tuple(map(int, told[0].split("."))) < least:
            raise MissingToolError(f"{program} is older than {'.'.join(map(str, least))}")
    return found


def built(*argv: str, cwd: Path, variables: Mapping[str, str] | None = None) -> str:
    """What a step of a build prints. AssertionError with all of it when the step fails."""
    done = _run(argv, cwd, variables)
    assert done.returncode == 0, f"{' '.join(argv)}:\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
    return done.stdout


def fetched(*argv: str, cwd: Path, variables: Mapping[str, str] | None = None) -> None:
    """A step that asks a registry. MissingToolError when it fails: the machine may have none."""
    done = _run(argv, cwd, variables)
    if done.returncode:
        raise MissingToolError(f"{' '.join(argv)}: {done.stderr.strip()[-600:]}")


def _run(argv: tuple[str, ...], cwd: Path, variables: Mapping[str, str] | None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv,
        cwd=cwd,
        env=os.environ | dict(variables or {}),
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS_MAX,
        check=False,
    )
