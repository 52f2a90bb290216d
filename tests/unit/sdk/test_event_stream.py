"""Server-sent events that pass, however the bytes are cut."""

import base64
import json
import os
import random
import struct
from collections.abc import Mapping
from typing import Any

import pytest

from tollgate.sdk.event_stream import AmazonEvents, Document, EventStream, Text, reader_of
from tollgate.sdk.providers import Answer
from tollgate.sdk.providers.dimensions import Amounts

SEED = int(os.environ.get("TOLLGATE_TEST_SEED", random.randrange(2**32)))


class Heard(Answer):
    """Keeps what it is fed; `{"hide": true}` is the event that nobody asked for."""

    def __init__(self) -> None:
        super().__init__("chat.completion", {}, "openai")
        self.heard: list[Any] = []

    def event(self, event: Mapping[str, Any]) -> bool:
        self.heard.append(event)
        return bool(event.get("hide"))

    def result(self, result: Any) -> None:
        self.heard.append(result)

    def told(self) -> Amounts | None:
        return None


def stream(rnd: random.Random) -> tuple[bytes, bytes, list[Any]]:
    """A body, the same without its hidden events, and its documents."""
    end = rnd.choice(["\n", "\r\n", "\r"])
    body, shown, documents = [], [], []
    for number in range(rnd.randrange(1, 8)):
        document = {"n": number, "text": rnd.choice(["", "é\u2028x", "a\nb"]), "hide": rnd.random() < 0.3}
        text = json.dumps(document, ensure_ascii=rnd.random() < 0.5)
        lines = [f"event: chunk{end}"] * rnd.randrange(2) + [f": ping{end}"] * rnd.randrange(2)
        event = "".join(lines) + f"data:{rnd.choice(['', ' '])}{text}{end}{end}"
        body.append(event)
        documents.append(document)
        if not document["hide"]:
            shown.append(event)
    done = f"data: [DONE]{end}{end}"
    return "".join([*body, done]).encode(), "".join([*shown, done]).encode(), documents


def cut(rnd: random.Random, body: bytes) -> list[bytes]:
    places = sorted(rnd.sample(range(len(body)), rnd.randrange(min(12, len(body)))))
    return [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]


@pytest.mark.parametrize("hides", [False, True])
def test_events_are_read_once_and_pass_whole_however_the_bytes_are_cut(hides: bool) -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}")
    rnd = random.Random(SEED)
    for _ in range(400):
        body, shown, documents = stream(rnd)
        answer = Heard()
        reader = EventStream(answer, hides=hides)
        passed = b"".join(reader.feed(chunk) for chunk in cut(rnd, body)) + reader.flush()
        assert passed == (shown if hides else body)
        assert answer.heard == documents
        assert answer.complete


def test_an_event_passes_as_soon_as_it_has_ended() -> None:
    reader = EventStream(Heard(), hides=True)
    assert reader.feed(b'data: {"n": 1}\n\ndata: {"n"') == b'data: {"n": 1}\n\n'
    assert reader.feed(b": 2}\n\n") == b'data: {"n": 2}\n\n'


def test_an_event_without_an_end_passes_at_the_end_of_the_body() -> None:
    answer = Heard()
    reader = EventStream(answer, hides=True)
    assert reader.feed(b'data: {"n": 1}') == b""
    assert reader.flush() == b'data: {"n": 1}'
    assert answer.heard == [{"n": 1}]
    assert not answer.complete


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"3", b"\xff", b'"text"'])
def test_data_that_is_no_object_passes_unread(data: bytes) -> None:
    answer = Heard()
    reader = EventStream(answer, hides=True)
    assert reader.feed(b"data: " + data + b"\n\n") + reader.flush() == b"data: " + data + b"\n\n"
    assert answer.heard == []


def test_a_document_is_read_once_it_is_whole_and_not_when_it_is_cut() -> None:
    whole, halved = Heard(), Heard()
    for answer, chunks in ((whole, [b'{"n":', b" 1}"]), (halved, [b'{"n":'])):
        reader = Document(answer)
        assert [reader.feed(chunk) for chunk in chunks] == chunks
        reader.flush()
    assert (whole.heard, halved.heard) == ([{"n": 1}], [])


def frame(event: Mapping[str, Any]) -> bytes:
    """A frame of Amazon's event stream, with one header; its checksums are not looked at here."""
    headers = b"\x0b:event-type\x07\x00\x05chunk"
    payload = json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "abc"}).encode()
    length = 12 + len(headers) + len(payload) + 4
    return struct.pack(">III", length, len(headers), 0) + headers + payload + b"\0\0\0\0"


def test_events_in_amazons_frames_are_read_however_the_bytes_are_cut() -> None:
    print(f"TOLLGATE_TEST_SEED={SEED}")
    rnd = random.Random(f"{SEED} amazon")
    for _ in range(100):
        documents = [{"n": number, "text": "é" * rnd.randrange(50)} for number in range(rnd.randrange(1, 6))]
        body = b"".join(map(frame, documents))
        answer = Heard()
        reader = AmazonEvents(answer)
        assert b"".join(reader.feed(chunk) for chunk in cut(rnd, body)) + reader.flush() == body
        assert answer.heard == documents


def test_bytes_that_are_no_frame_pass_unread() -> None:
    answer = Heard()
    reader = AmazonEvents(answer)
    for chunk in (b"\0" * 40, b"\xff" * 40, frame({"n": 1})):
        assert reader.feed(chunk) == chunk
    assert answer.heard == [{"n": 1}]


def test_a_body_is_read_by_its_type() -> None:
    kinds = {
        "text/event-stream; charset=utf-8": EventStream,
        "application/vnd.amazon.eventstream": AmazonEvents,
        "application/json": Document,
        "application/problem+json": Document,
        "audio/mpeg": Text,
        "": Text,
    }
    for content_type, kind in kinds.items():
        assert type(reader_of(content_type, Heard(), hides=False)) is kind
    subtitles, speech = Heard(), Heard()
    for answer, content_type in ((subtitles, "text/vtt"), (speech, "audio/mpeg")):
        reader = reader_of(content_type, answer, hides=False)
        reader.feed(b"12345")
        reader.flush()
        assert answer.complete
    assert (subtitles.text_bytes, speech.text_bytes) == (5, 0)
