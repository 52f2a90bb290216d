"""Temporary files for the rows of an insert. The engine reads rows reliably only from a file.

On Linux the file is in memory and has no name: the rows are not written to disk twice, a full disk does not matter, and
the file is gone when the process ends. Elsewhere it is a file in a private directory, for the server's user only.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tollgate.embedded.errors import QueryError

NOT_ENOUGH_SPACE = 243


class Inbox:
    """Files that last as long as their insert. Thread-safe."""

    def __init__(self, directory: Path, *, in_memory: bool = hasattr(os, "memfd_create")) -> None:
        """Remove what an earlier process left in `directory`, which is the inbox's alone."""
        self._directory = directory
        self._in_memory = in_memory
        if directory.exists():
            shutil.rmtree(directory)
        if not in_memory:
            directory.mkdir(mode=0o700, parents=True)

    @contextmanager
    def keep(self, data: bytes) -> Iterator[str]:
        """The path of a file with `data`, gone after the block. Raises QueryError when there is no room for it."""
        name = ""
        try:
            try:
                if self._in_memory:
                    descriptor = os.memfd_create("insert")
                    path = f"/proc/self/fd/{descriptor}"
                else:
                    # mkstemp's files can be read and written by their owner alone.
                    descriptor, path = tempfile.mkstemp(dir=self._directory)
                    name = path
                file = os.fdopen(descriptor, "wb", buffering=0)
            except OSError as error:
                raise _no_room(error) from error
            with file:
                try:
                    rest = memoryview(data)
                    while rest:
                        rest = rest[file.write(rest) :]
                except OSError as error:
                    raise _no_room(error) from error
                yield path
        finally:
            if name:
                Path(name).unlink(missing_ok=True)


def _no_room(error: OSError) -> QueryError:
    return QueryError(
        NOT_ENOUGH_SPACE,
        f"Code: 243. DB::Exception: Cannot keep the rows of an insert: {error.strerror}. (NOT_ENOUGH_SPACE)",
    )
