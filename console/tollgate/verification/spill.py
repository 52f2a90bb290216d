"""Rows on disk in buckets: what does not fit into memory is written once and read back a bucket at a time.

Rows that belong together go to the same bucket, in the order in which they were added. Memory is bounded by one bucket
and by what waits to be written.
"""

import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from zlib import crc32

# Rows are written when this many bytes wait: then each of a thousand buckets gets about 8 KiB at a time.
_PENDING_BYTES_MAX: Final = 8 << 20
_READ_BYTES: Final = 1 << 20
_LENGTH: Final = struct.Struct("<I")


class SpaceError(Exception):
    """The temporary directory cannot be used, most likely because its disk is full. It says where and why."""


@contextmanager
def using(directory: Path) -> Iterator[None]:
    """Files of this directory are written or read in the block. Raises SpaceError."""
    try:
        yield
    except OSError as error:
        raise SpaceError(f"the temporary directory {directory} cannot be used: {error.strerror or error}") from error


class Workspace:
    """A temporary directory for spills, gone when the block ends, whatever ends it. `where` is its parent directory."""

    def __init__(self, where: Path | None = None) -> None:
        self._where = where
        self.path = Path()

    def __enter__(self) -> Self:
        with using(self._where or Path(tempfile.gettempdir())):
            self.path = Path(tempfile.mkdtemp(prefix="tollgate-verify-", dir=self._where))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


class Spill:
    """`buckets` files of rows in a new directory. A flushed spill may be sent to another process, which reads it."""

    def __init__(self, directory: Path, buckets: int) -> None:
        self.buckets = buckets
        self._directory = directory
        directory.mkdir()
        self._pending: list[list[bytes]] = [[] for _ in range(buckets)]
        self._pending_bytes = 0
        self._joined: list[Spill] = []

    def join(self, other: "Spill") -> None:
        """Have the rows of another one too, before its own; nobody may add to that one any more."""
        assert other.buckets == self.buckets
        self._joined.append(other)

    def bucket_of(self, name: str) -> int:
        """The bucket that everything of this name goes to.

        A combination is in that of its first name: the flag of a user and a feature says what the user has reserved.
        """
        return crc32(name.partition("+")[0].encode()) % self.buckets

    def add(self, bucket: int, row: bytes) -> None:
        """Add a row to the end of a bucket."""
        pending = self._pending[bucket]
        pending.append(_LENGTH.pack(len(row)))
        pending.append(row)
        self._pending_bytes += len(row) + 120
        if self._pending_bytes >= _PENDING_BYTES_MAX:
            self.flush()

    def rows(self, bucket: int) -> Iterator[bytes]:
        """The rows of a bucket as of now, in the order in which they were added."""
        for other in self._joined:
            yield from other.rows(bucket)
        self.flush()
        path = self._path(bucket)
        if not path.exists():
            return
        with path.open("rb", buffering=_READ_BYTES) as file:
            while length := file.read(4):
                yield file.read(_LENGTH.unpack(length)[0])

    def flush(self) -> None:
        """Write what waits. SpaceError when the disk is full."""
        with using(self._directory):
            for bucket, pending in enumerate(self._pending):
                if pending:
                    with self._path(bucket).open("ab") as file:
                        file.write(b"".join(pending))
                    pending.clear()
        self._pending_bytes = 0

    def _path(self, bucket: int) -> Path:
        return self._directory / f"{bucket}"
