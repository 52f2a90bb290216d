"""The command `tollgate` as a user runs it: a process, its exit status, what it prints."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Nothing a test asks for takes longer; a command that hangs fails its test.
COMMAND_SECONDS_MAX = 180


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON document that it printed."""
        assert self.status in (0, 1), self.err
        return json.loads(self.out)


@dataclass(frozen=True)
class Tollgate:
    """Runs commands with these variables, in this directory, without any other setting of Tollgate."""

    variables: Mapping[str, str]
    directory: Path

    def run(self, *arguments: str, stdin: str | None = None) -> Ran:
        """Run one command and wait for its end."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name("tollgate")), *arguments],
            env=self.environment(),
            cwd=self.directory,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str, stdin: str | None = None) -> Ran:
        """The same for a command that must end with 0."""
        ran = self.run(*arguments, stdin=stdin)
        assert ran.status == 0, f"tollgate {' '.join(arguments)} ended with {ran.status}: {ran.err}\n{ran.out}"
        return ran

    def environment(self) -> dict[str, str]:
        """What the process sees."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith("TOLLGATE_") or n == "TOLLGATE_TEST_RUN"}
        return kept | dict(self.variables)
