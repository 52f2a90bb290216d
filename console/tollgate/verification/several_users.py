"""The same source and id under several users: each user's partition counts it, because identities are kept there.

It is the sender's fault, and no difference: the contract has an id of one user. It is told with examples.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tollgate.schemas.topics import Topic
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.verification.log import Log
from tollgate.verification.spill import using

# 64 bits of an identity, and where it was first seen in a partition.
_DTYPE: Final = np.dtype([("mark", "<u8"), ("offset", "<u8"), ("partition", "<u4")])
# With 100 million identities a file has 1.6 million rows, 31 MB.
_BUCKETS: Final = 64
_EXAMPLES_MAX: Final = 5

Place = tuple[int, int]


@dataclass(slots=True)
class SeveralUsers:
    """How many identities were counted for more than one user, and a few of them."""

    count: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For machines: `{"count", "examples": [{"source", "id", "events": [{"user", "place"}]}]}`."""
        return {"count": self.count, "examples": self.examples}

    def lines(self) -> list[str]:
        """For people; none when there is no such identity."""
        if not self.count:
            return []
        told = f"{self.count} identities (source and id) were counted for more than one user, which is no difference: "
        lines = [f"{told}an id must not be used again for another user."]
        for example in self.examples:
            users = ", ".join(f"{event['user']} at {event['place']}" for event in example["events"])
            lines.append(f"  source {example['source']}, id {example['id']}: {users}")
        return lines


class Marks:
    """Identities of all partitions on disk, 20 bytes each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()
        self._joined: list[Marks] = []

    def join(self, other: "Marks") -> None:
        """Look through those of another one too."""
        self._joined.append(other)

    def add(self, partition: int, marks: npt.NDArray[np.uint64], offsets: npt.NDArray[np.uint64]) -> None:
        """Identities of a partition, each once."""
        rows = np.empty(len(marks), _DTYPE)
        rows["mark"], rows["offset"], rows["partition"] = marks, offsets, partition
        buckets = marks % np.uint64(_BUCKETS)
        with using(self._directory):
            for bucket in np.unique(buckets).tolist():
                with (self._directory / f"{bucket}").open("ab") as file:
                    file.write(rows[buckets == bucket].tobytes())

    def repeated(self) -> Iterator[list[Place]]:
        """The places (partition, offset) of each identity that is in more than one partition."""
        for bucket in range(_BUCKETS):
            rows = np.concatenate([np.empty(0, _DTYPE), *map(_rows, self._files(bucket))])
            rows = rows[np.argsort(rows["mark"], kind="stable")]
            is_first = np.ones(len(rows), np.bool_)
            is_first[1:] = rows["mark"][1:] != rows["mark"][:-1]
            starts = np.flatnonzero(is_first)
            sizes = np.diff(np.append(starts, len(rows)))
            for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
                group = rows[start : start + size]
                yield list(zip(group["partition"].tolist(), group["offset"].tolist(), strict=True))

    def _files(self, bucket: int) -> Iterator[Path]:
        for marks in (self, *self._joined):
            path = marks._directory / f"{bucket}"  # noqa: SLF001 # of its own kind
            if path.exists():
                yield path


def _rows(path: Path) -> npt.NDArray[np.void]:
    return np.fromfile(path, _DTYPE)


async def of_several_users(marks: Marks, log: Log) -> SeveralUsers:
    """Count them, and read the events of a few again to name them."""
    found = SeveralUsers()
    for places in marks.repeated():
        found.count += 1
        if len(found.examples) < _EXAMPLES_MAX:
            events = [(await _read(log, place), place) for place in places[:_EXAMPLES_MAX]]
            known = [(event, place) for event, place in events if event is not None]
            if known:
                found.examples.append(
                    {
                        "source": known[0][0].source,
                        "id": known[0][0].id,
                        "events": [{"user": event.subject, "place": f"{p}:{offset}"} for event, (p, offset) in known],
                    }
                )
    return found


async def _read(log: Log, place: Place) -> EventRecord | None:
    partition, offset = place
    async for batch in log.read(Topic.USAGE, partition, offset, offset + 1):
        event = decode_usage_event(batch[0].value, batch[0].headers)
        return event if isinstance(event, EventRecord) else None
    return None
