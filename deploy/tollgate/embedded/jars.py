"""The broker's jars: fetched once from Maven Central with jgo, checked against a lock file, kept in the user's cache.

Only jars whose SHA-256 is in `kafka_jars.lock` are ever put on a class path: all are read and compared at every start,
in a third of a second, and one that was changed since it was fetched is fetched again. A download lands in a staging
directory and is moved into place after the check, so that an interrupted one leaves nothing that looks whole.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import structlog

from tollgate.embedded.errors import MissingPartError

logger = structlog.get_logger(__name__)

LOCK_FILE = "kafka_jars.lock"

# Maven Central serves a few connections at once gladly; more does not shorten 45 MB.
DOWNLOADS_AT_ONCE = 4
TIMEOUT_SECONDS = 30

# Called before the download with (jars, bytes); yields a function to call with the number of bytes just received.
Progress = Callable[[int, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, slots=True)
class LockedJar:
    """One line of the lock file."""

    group: str
    artifact: str
    version: str
    size_bytes: int
    sha256: str

    @property
    def filename(self) -> str:
        """The file's name in the cache. Artifact names of the list are unique, so one directory holds all."""
        return f"{self.artifact}-{self.version}.jar"


def locked_jars() -> tuple[LockedJar, ...]:
    """Every jar of the broker, in the lock file's order."""
    text = resources.files("tollgate.embedded").joinpath(LOCK_FILE).read_text(encoding="ascii")
    found = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            coordinate, size, sha256 = line.split()
            group, artifact, version = coordinate.split(":")
            found.append(LockedJar(group, artifact, version, int(size), sha256))
    return tuple(found)


def jar_directory() -> Path:
    """Where the jars are kept: `$XDG_CACHE_HOME/tollgate/jars`, `~/.cache/tollgate/jars` by default."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tollgate" / "jars"


def missing_jars(directory: Path | None = None, locked: Sequence[LockedJar] | None = None) -> list[LockedJar]:
    """Jars that are absent or of another size. Needs no network and reads no content."""
    where = directory or jar_directory()
    return [jar for jar in locked or locked_jars() if not _has_size(where / jar.filename, jar.size_bytes)]


def damaged_jars(directory: Path | None = None, locked: Sequence[LockedJar] | None = None) -> list[LockedJar]:
    """Jars that are absent or whose content is not what the lock file says; reads all 45 MB."""
    where = directory or jar_directory()
    return [
        jar
        for jar in locked or locked_jars()
        if not _has_size(where / jar.filename, jar.size_bytes)
        or hashlib.sha256((where / jar.filename).read_bytes()).hexdigest() != jar.sha256
    ]


def ensure_jars(
    progress: Progress | None = None, directory: Path | None = None, locked: Sequence[LockedJar] | None = None
) -> list[Path]:
    """The broker's class path; downloads what is missing or not as locked, and blocks until it is there.

    When all are there and as locked it touches no network. Raises MissingPartError when a jar cannot be fetched or is
    not the locked one; what arrived whole stays, so a second call goes on from there.
    """
    where = directory or jar_directory()
    locked = locked or locked_jars()
    missing = damaged_jars(where, locked)
    if changed := [jar.filename for jar in missing if (where / jar.filename).exists()]:
        logger.warning("jars are not what the lock file says and are fetched again", jars=changed, directory=str(where))
    if missing:
        where.mkdir(parents=True, exist_ok=True)
        with (progress or _silent)(len(missing), sum(jar.size_bytes for jar in missing)) as advance:
            _download(missing, where, advance)
    return [where / jar.filename for jar in locked]


def _has_size(path: Path, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes
    except OSError:
        return False


@contextmanager
def _silent(_jars: int, _size_bytes: int) -> Iterator[Callable[[int], None]]:
    yield lambda _arrived: None


def _download(jars: list[LockedJar], where: Path, advance: Callable[[int], None]) -> None:
    # A directory of this process alone, on the same file system as the cache: two first starts at once both work.
    staging = Path(tempfile.mkdtemp(prefix=".download-", dir=where))
    try:
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
            futures = [pool.submit(_fetch, jar, staging, where, advance) for jar in jars]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fetch(jar: LockedJar, staging: Path, where: Path, advance: Callable[[int], None]) -> None:
    import requests
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext, PythonResolver

    @contextmanager
    def report(_filename: str, _size_bytes: int) -> Iterator[Callable[[int], None]]:
        yield advance

    context = MavenContext(
        repo_cache=staging,
        # Mirrors named in the user's own jgo configuration are tried after Maven Central.
        remote_repos={"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories},
        resolver=PythonResolver(progress_callback=report),
        timeout=TIMEOUT_SECONDS,
    )
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    try:
        path = Path(context.resolver.download(artifact))
    except (requests.RequestException, RuntimeError, OSError) as error:
        raise MissingPartError(
            f"Cannot fetch {jar.filename} from Maven Central ({type(error).__name__}): check the network or its proxy "
            "and start again."
        ) from error
    if hashlib.sha256(path.read_bytes()).hexdigest() != jar.sha256:
        raise MissingPartError(f"{jar.filename} arrived with another content than the lock file says: start again.")
    path.replace(where / jar.filename)
