"""Errors of the embedded stack. Each text is one sentence that says what to do.

EmbeddedError
├── MissingPartError        something cannot be obtained or read: jars, Java, the stack's own command
├── NotReadyError           a process did not answer in time, or ended while it started
├── PortTakenError          a port that was asked for is in use
├── AlreadyRunningError     another stack holds the data directory
└── QueryError              ClickHouse refused or failed a query
"""


class EmbeddedError(Exception):
    """Base of everything that the embedded stack raises on purpose."""


class MissingPartError(EmbeddedError):
    """A part of the stack is not on this machine and could not be fetched. May be retried once the network is back."""


class NotReadyError(EmbeddedError):
    """A process did not become ready in time, or ended while starting; the text names its log."""


class PortTakenError(EmbeddedError):
    """A port given by the user is in use by another program."""


class AlreadyRunningError(EmbeddedError):
    """Another stack holds the lock of the data directory."""


class QueryError(EmbeddedError):
    """A query failed. `code` is ClickHouse's own number; the text has ClickHouse's form `Code: N. DB::Exception: …`."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
