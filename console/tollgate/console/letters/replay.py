"""Sending refused records again: what the command line and the console share."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from tollgate.console.letters.letters import Letter, Place, all_letters, one_letter
from tollgate.runtime.settings import Settings
from tollgate.runtime.topic_writing import TopicWriter, open_writer
from tollgate.schemas.entries import decode_entries_topic, decode_usage_topic
from tollgate.schemas.refusals import Refusal, RefusalReason
from tollgate.schemas.topics import Topic

# Of more records that are kept back only the number is told.
KEPT_TOLD_MAX: Final = 100


@dataclass(slots=True)
class Replayed:
    """What was sent, and what was kept back and why."""

    sent: list[str] = field(default_factory=list)
    """Places, `0:17`."""
    kept: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)
    """Place and reason of the first hundred that were kept back."""


def why_not(letter: Letter, topic: Topic = Topic.USAGE, *, force: bool) -> str | None:
    """Why a letter is not sent to the topic again; None when it is."""
    if letter.header("cut"):
        return f"is not whole ({letter.header('cut')}): its sender has to send it again."
    if letter.header("source_offset_first"):
        return "is a batch as it was compressed: its sender has to send it again, in smaller batches."
    decode = decode_entries_topic if topic is Topic.ENTRIES else decode_usage_topic
    verdict = decode(letter.value, letter.original_headers)
    if isinstance(verdict, Refusal) and not force:
        return f"would be refused again, {verdict.reason.value}: {verdict.error}"
    return None


async def replay(
    settings: Settings,
    *,
    place: Place | None = None,
    reason: RefusalReason | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> Replayed:
    """Send the letter at the place, or all with the reason, to where they came from again: the same bytes, key and
    headers.

    Equal letters are sent once; an event that was counted meanwhile is not counted again. `force` sends also what will
    be refused again. Raises NoLetterError and KafkaUnreachableError.
    """
    done = Replayed()
    async with AsyncExitStack() as stack:
        writers: dict[Topic, TopicWriter] = {}
        entries = settings.topic(Topic.ENTRIES)
        # One after another, because all of them together may be larger than the memory.
        async for letter in _wanted(settings, place, reason):
            topic = Topic.ENTRIES if letter.header("source_topic") == entries else Topic.USAGE
            why = why_not(letter, topic, force=force)
            if why is not None:
                done.kept += 1
                if done.kept <= KEPT_TOLD_MAX:
                    done.reasons.append((str(letter.place), why))
                continue
            done.sent.append(str(letter.place))
            if not dry_run:
                if topic not in writers:
                    writers[topic] = await stack.enter_async_context(open_writer(settings, topic))
                await writers[topic].write(letter.key, letter.value, letter.original_headers)
    return done


async def _wanted(settings: Settings, place: Place | None, reason: RefusalReason | None) -> AsyncIterator[Letter]:
    """The letter at the place, or all with the reason, those of the same content once: a replay that was refused again
    has left a second one.
    """
    if place is not None:
        yield await one_letter(settings, place)
        return
    assert reason is not None, "a place or a reason"
    seen: set[bytes] = set()
    async for letter in all_letters(settings, reason.value):
        content = repr((letter.key, letter.original_headers)).encode() + b"\0" + (letter.value or b"")
        digest = blake2b(content, digest_size=16).digest()
        if digest not in seen:
            seen.add(digest)
            yield letter
