"""What is known of one answer of a provider, while it arrives and at its end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tollgate.sdk.providers.dimensions import INPUT, OUTPUT, Amounts, dimensions

BYTES_PER_TOKEN: Final = 4
"""For estimates alone: https://help.openai.com/en/articles/4936856 names four characters of English a token."""

# Parts of a request that hold other things than text for the model.
_NOT_TEXT: Final = frozenset({"data", "image_url", "file_data", "inline_data", "url", "model", "audio", "file"})
_DEPTH_MAX: Final = 12


@dataclass(frozen=True, slots=True)
class Reading:
    """What one call used. `estimated` when the provider did not say, and amounts are guessed from the text."""

    usage: Amounts
    estimated: bool = False
    model: str | None = None
    answer_id: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


class Answer:
    """One answer, of one operation. Feed it the whole result, or the events of its stream.

    `complete` once the provider has said that the answer has ended; `failed` when it said so by an error. `unfinished`
    while it is made in the background, and its usage comes later.
    """

    def __init__(self, operation: str, body: Mapping[str, Any], convention: str) -> None:
        self.operation = operation
        self.body = body
        self.convention = convention
        self.complete = False
        self.failed = False
        self.unfinished = False
        self.usage: Mapping[str, Any] | None = None
        self.model: str | None = None
        self.answer_id: str | None = None
        self.text_bytes = 0
        """UTF-8 bytes of the text, the thoughts and the arguments of tools that were delivered."""
        self.options: dict[str, str] = {}

    def result(self, result: Any) -> None:
        """Take the whole answer: the library's object, or the JSON document."""
        raise NotImplementedError

    def event(self, event: Mapping[str, Any]) -> bool:
        """Take one event of the stream. True for one that holds nothing but the usage that we asked for."""
        raise NotImplementedError

    def reading(self) -> Reading:
        """What is known by now. Estimated unless the provider told."""
        told = self.told()
        usage = self.estimate() if told is None else told
        return Reading(usage, told is None, self.model, self.answer_id, self.options)

    def told(self) -> Amounts | None:
        """What the provider told of its whole answer; None when it did not, or not yet."""
        return (dimensions(self.usage, self.convention) or None) if self.usage is not None else None

    def estimate(self) -> Amounts:
        """What the delivered text comes to, with the request's text."""
        guessed: Amounts = {INPUT: tokens_of(text_bytes(self.body)), OUTPUT: tokens_of(self.text_bytes)}
        return {dimension: amount for dimension, amount in guessed.items() if amount}

    def deliver(self, *texts: Any) -> None:
        """Count text that was delivered; what is no text is ignored."""
        self.text_bytes += sum(len(text.encode(errors="ignore")) for text in texts if isinstance(text, str))


def tokens_of(size_bytes: int) -> int:
    """Tokens of so much text, rounded up."""
    return -(-size_bytes // BYTES_PER_TOKEN)


def text_bytes(given: Any, depth: int = 0) -> int:
    """UTF-8 bytes of all text within a request's messages, tools and instructions; files and images are not text."""
    if isinstance(given, str):
        return len(given.encode(errors="ignore"))
    if depth > _DEPTH_MAX:
        return 0
    if isinstance(given, Mapping):
        return sum(text_bytes(value, depth + 1) for name, value in given.items() if name not in _NOT_TEXT)
    if isinstance(given, list | tuple):
        return sum(text_bytes(value, depth + 1) for value in given)
    return 0


def part(given: Any, name: str) -> Any:
    """A field of a JSON document, or of a library's object; None when it is not there."""
    return given.get(name) if isinstance(given, Mapping) else getattr(given, name, None)


def as_mapping(given: Any) -> Mapping[str, Any] | None:
    """A usage object as a mapping, whichever library made it."""
    if given is None or isinstance(given, Mapping):
        return given
    dump = getattr(given, "model_dump", None)
    dumped = dump(exclude_none=True, warnings=False) if callable(dump) else None
    return dumped if isinstance(dumped, Mapping) else None


def text_or_none(given: Any) -> str | None:
    """The text, or None for anything else and for the empty one."""
    return given if isinstance(given, str) and given else None


def listed(given: Any) -> list[Any]:
    """The list, or an empty one for anything else."""
    return given if isinstance(given, list) else []
