"""The services of `examples/` in Node, Go and Java: built once, then run as processes."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.toolchains import NPM_CI, built, fetched, find

from tollgate.embedded.jars import ensure_jars, locked_jars

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"
# A program that hangs is ended, and its test fails.
PROGRAM_SECONDS_MAX: Final = 60
# What `pom.xml` names, and what that brings with it.
JAVA_NEEDS: Final = {
    *("kafka-clients", "lz4-java", "snappy-java", "zstd-jni", "slf4j-api", "slf4j-simple"),
    *("jackson-databind", "jackson-core", "jackson-annotations"),
}


@dataclass(frozen=True)
class Service:
    """How the three programs of a language are started: `usage`, `flags` and `reserve`."""

    command: Callable[[str], list[str]]
    directory: Path

    def run(self, program: str, *arguments: str, variables: Mapping[str, str], stdin: str = "") -> "Ran":
        """Run a program to its end."""
        done = subprocess.run(
            [*self.command(program), *arguments],
            cwd=self.directory,
            env=_environment(variables),
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=PROGRAM_SECONDS_MAX,
            check=False,
        )
        return Ran(done.returncode, done.stdout.splitlines(), done.stderr)

    def record(self, calls: Iterable[dict[str, Any]], variables: Mapping[str, str]) -> list[str]:
        """Record calls, and return the ids of their events."""
        ran = self.run("usage", variables=variables, stdin="".join(f"{json.dumps(call)}\n" for call in calls))
        assert ran.status == 0, ran.err
        return ran.out

    @contextmanager
    def flags(self, variables: Mapping[str, str]) -> "Iterator[Callable[[dict[str, str]], dict[str, Any]]]":
        """A reader of flags while the block runs; what is yielded asks it about a call."""
        process = subprocess.Popen(
            self.command("flags"),
            cwd=self.directory,
            env=_environment(variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        ending = threading.Timer(PROGRAM_SECONDS_MAX, process.kill)
        ending.start()
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr

        def ask(call: dict[str, str]) -> dict[str, Any]:
            stdin.write(f"{json.dumps(call)}\n")
            stdin.flush()
            line = stdout.readline()
            assert line, f"no answer: {stderr.read()}"
            answer: dict[str, Any] = json.loads(line)
            return answer

        try:
            yield ask
            # The end of what it reads ends it.
            _, err = process.communicate(timeout=PROGRAM_SECONDS_MAX)
            assert process.returncode == 0, err
        finally:
            ending.cancel()
            process.kill()
            process.wait()
            for pipe in (stdin, stdout, stderr):
                pipe.close()


@dataclass(frozen=True)
class Ran:
    """What a program did."""

    status: int
    out: list[str]
    err: str


def node(directory: Path) -> Service:
    """Installed from the committed lock."""
    find("node", "nodejs", least=(20,))
    npm = find("npm", "npm")
    copied = directory / "node"
    shutil.copytree(EXAMPLES / "node", copied, ignore=shutil.ignore_patterns("node_modules"))
    fetched(npm, *NPM_CI[1:], cwd=copied)
    return Service(lambda program: ["node", f"{program}.mjs"], copied)


def go(directory: Path) -> Service:
    """One binary for each program."""
    command = find("go", "golang-go", least=(1, 21), version="version")
    fetched(command, "mod", "download", cwd=EXAMPLES / "go")
    binaries = directory / "go"
    binaries.mkdir()
    # Without optimizations the standard library and the client take two thirds of the time to compile.
    built(command, "build", "-gcflags=all=-N -l", "-o", str(binaries), "./...", cwd=EXAMPLES / "go")
    return Service(lambda program: [str(binaries / program)], binaries)


def java(directory: Path) -> Service:
    """Compiled against the jars of the embedded broker, which are those that `pom.xml` names."""
    compiler = find("javac", "default-jdk-headless", least=(17,))
    ensure_jars()
    needed = [jar.filename for jar in locked_jars() if jar.artifact in JAVA_NEEDS]
    path = os.pathsep.join(str(jar) for jar in ensure_jars() if jar.name in needed)
    sources = sorted(str(source) for source in (EXAMPLES / "java").glob("*.java"))
    classes = directory / "java"
    options = ["-Xlint:all", "-Werror", "--release", "17", "-d", str(classes), "-cp", path]
    built(compiler, *options, *sources, cwd=directory)
    # A short program: half of its time would go into compiling what runs once.
    run = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    run += ["-Dfile.encoding=UTF-8", "-cp", f"{classes}{os.pathsep}{path}"]
    return Service(lambda program: [*run, program.capitalize()], classes)


BUILDERS: Final[dict[str, Callable[[Path], Service]]] = {"go": go, "node": node, "java": java}


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith("TOLLGATE_") or n == "TOLLGATE_TEST_RUN"}
    return kept | dict(variables)
