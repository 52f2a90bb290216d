"""How the rows of an insert reach the engine, which takes them safely from a file only: through a pipe.

A pipe has a path while it is open. Nothing is written to a disk on the way, so nothing can be left there, and no other
user can read it.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def rows_path(data: bytes) -> Iterator[str]:
    """The path of a file from which `data` can be read once, within the block; it need not be read to its end."""
    reading, writing = os.pipe()
    failures: list[OSError] = []

    def write() -> None:
        try:
            with os.fdopen(writing, "wb", buffering=0) as pipe:
                rest = memoryview(data)
                while rest:
                    rest = rest[pipe.write(rest) :]
        except BrokenPipeError:
            # The reader failed or had enough.
            pass
        except OSError as error:
            failures.append(error)

    writer = threading.Thread(target=write, name="rows")
    try:
        try:
            writer.start()
        except RuntimeError:
            os.close(writing)
            raise
        yield f"/dev/fd/{reading}"
    finally:
        # Lets the writer go when it still waits for a reader.
        os.close(reading)
        if writer.ident is not None:
            writer.join()
    if failures:
        # The reader took what came before for everything.
        raise failures[0]
