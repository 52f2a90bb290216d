"""Errors of the numbers.

    NumbersError
    ├── UnavailableError   not now: ClickHouse is away or overloaded; the same question may be asked again
    ├── TooLargeError      the answer would be larger, or need more memory, than a question may
    └── BadQuestionError   what was asked for makes no sense: a range that ends before it begins

No text of these errors holds what was asked for or what ClickHouse said of it.
"""

from typing import Final


class NumbersError(Exception):
    """Anything that the numbers raise on purpose. The text is one sentence for people."""


class UnavailableError(NumbersError):
    """ClickHouse cannot be reached or cannot answer now. May be retried after `retry_seconds`."""

    def __init__(self, reason: str, retry_seconds: int = 2) -> None:
        super().__init__(reason)
        self.retry_seconds = retry_seconds


class TooLargeError(NumbersError):
    """The question goes over a bound on rows or memory. A shorter range may be answered."""


class BadQuestionError(NumbersError):
    """The question itself is wrong."""


# ClickHouse's codes for a question that took too long: on a busy server any may.
TOO_SLOW: Final = frozenset({159, 160})

# ClickHouse's codes for a question that went over another of its bounds.
TOO_LARGE: Final = {
    158: "reads too many rows",
    191: "needs too much memory",
    241: "needs too much memory",
    307: "reads too many bytes",
    396: "has too many rows",
}
