"""How the name of a model is read: what only routes is taken off it, and what hides the price is told.

Names come from outside and say more than which model it is: who serves it (`models/…`, `bedrock/…`, `:nitro`), where
(`us.…`, an ARN), or that something else is charged for (`:online`). The rules are data: `prices/rules/names.yaml`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

# `-20251211`, as OpenRouter and LiteLLM write the date of a release, is `-2025-12-11` in most lists.
_COMPACT_DATE: Final = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=[-:@]|$)")

_GATEWAY: Final = "litellm"
_BEDROCK: Final = "aws"
_GLOBAL: Final = "global"

# Names nest (`litellm_proxy/bedrock/us.…:nitro`), but not without end.
_ROUNDS_MAX: Final = 6


@dataclass(frozen=True, slots=True)
class Reading:
    """What a provider's and a model's name say.

    `provider` is the canonical one. `names` are in lower case: the name as it was sent, then what is left of it as
    routing is taken off, step by step; the first that a price names counts. `region` is where it says it runs, or `""`.
    `hides`: why the name does not say what is charged; then only a price for the very name holds. `free`: an offer that
    its provider never charges for.
    """

    provider: str
    names: tuple[str, ...]
    region: str = ""
    free: bool = False
    hides: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """Names that fit `pattern` as a whole. `provider` is `""` for all but those in `apart_from`."""

    pattern: re.Pattern[str]
    provider: str = ""
    apart_from: tuple[str, ...] = ()
    hides: str = ""
    free: bool = False

    def match(self, provider: str, name: str) -> re.Match[str] | None:
        if self.provider not in ("", provider) or provider in self.apart_from:
            return None
        return self.pattern.fullmatch(name)


@dataclass(frozen=True, slots=True)
class Territory:
    """The regions in which a provider's list holds for models that fit `models`; `why` is told elsewhere."""

    provider: str
    models: re.Pattern[str]
    known: re.Pattern[str]
    why: str


@dataclass(frozen=True, slots=True)
class NameRules:
    """The rules of `prices/rules/names.yaml`.

    `ending` is what may follow a listed name that stands for others like it; `endings` is more of it, by the id of a
    model; `beginnings` is what may stand before it, by provider. `geographies` are those a name of Bedrock may begin
    with. `strangers` are words that make a provider's name another's.
    """

    shapes: Sequence[Shape]
    territories: Sequence[Territory]
    ending: re.Pattern[str]
    endings: Mapping[str, re.Pattern[str]]
    beginnings: Mapping[str, re.Pattern[str]]
    geographies: frozenset[str]
    strangers: frozenset[str]

    def read(self, provider: str, model: str, provider_named: Callable[[str], str]) -> Reading:
        """Read the name of a model of a provider, which is canonical. `provider_named` gives the provider that a word
        in a name stands for, or `""`.
        """
        reading = Reading(provider, (model,))
        for _ in range(_ROUNDS_MAX):
            step = self._step(reading, provider_named)
            if step is None:
                break
            reading = step
            if reading.hides or reading.free:
                return reading
        last = reading.names[-1]
        dated = _COMPACT_DATE.sub(r"-\1-\2-\3", last)
        return reading if dated == last else replace(reading, names=(*reading.names, dated))

    def _step(self, reading: Reading, provider_named: Callable[[str], str]) -> Reading | None:
        """What the last name says when one more thing is taken off it; None when there is nothing to take off."""
        name = reading.names[-1]
        for shape in self.shapes:
            match = shape.match(reading.provider, name)
            if match is None:
                continue
            said = match.groupdict()
            region = said.get("region") or reading.region
            shorter = said.get("model")
            names = (*reading.names, shorter) if shorter else reading.names
            return replace(reading, names=names, region=region, hides=shape.hides, free=shape.free)
        head, slash, rest = name.partition("/")
        if not slash:
            head, _, rest = name.partition(":")
        if not rest:
            return None
        named = provider_named(head)
        if named and reading.provider in ("", _GATEWAY):
            return Reading(named, (rest,))
        return replace(reading, names=(*reading.names, rest)) if named and named == reading.provider else None

    def in_region(self, reading: Reading, region: str) -> Reading:
        """The reading for a call in that region, which is `""` when nothing says where it ran."""
        name = reading.names[-1]
        if not region or reading.hides:
            return reading
        if reading.provider == _BEDROCK and region == _GLOBAL:
            placed = any(name.split(".")[0] in self.geographies for name in reading.names)
            return reading if placed else replace(reading, names=(f"{_GLOBAL}.{name}",))
        for territory in self.territories:
            if territory.provider == reading.provider and territory.models.fullmatch(name):
                if not territory.known.fullmatch(region):
                    return replace(reading, hides=territory.why)
                break
        return reading

    def is_stranger(self, provider: str) -> bool:
        """Whether a provider's name says that it is not the one it reminds of."""
        return not self.strangers.isdisjoint(re.split(r"[^a-z0-9]+", provider))

    def may_begin(self, provider: str, text: str) -> bool:
        """Whether the text may stand before a listed name of the provider."""
        pattern = self.beginnings.get(provider)
        return not text or (pattern is not None and pattern.fullmatch(text) is not None)

    def may_end(self, model_id: str, literal: str, rest: str) -> bool:
        """Whether `rest` may follow the part of a name that a list names, `literal`, and still be the model `model_id`.

        A list may cut a name within a word: `claude-sonnet-4-2025` and `0514`. Then the whole word is looked at, and it
        must be a date or a version with leading zeros: `claude-opus-4-1` does not stand for `claude-opus-4-10`.
        """
        if rest and rest[0].isalnum():
            head = re.split(r"[-@:._]", literal)[-1]
            if head and not re.match(r"20\d{6}|0\d\d", head + rest):
                return False
            rest = f"-{head}{rest}"
        more = self.endings.get(model_id)
        if more is not None and (match := more.match(rest)):
            rest = rest[match.end() :]
        return self.ending.fullmatch(rest) is not None
