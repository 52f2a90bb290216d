"""Which model of a list a name means: the exact name first, else the list's own patterns, guarded.

The patterns of `genai-prices` (`starts_with`, `contains`, …) are made to find the next release of a model. They also
find other models at other prices: `deepseek-r1-distill-llama-70b` by `deepseek-r1`. So a match counts only when nothing
but the name of a release is left over (`NameRules.may_end`).
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    MatchLogic,
    ModelInfo,
    Provider,
)

from tollgate.domain.pricing.names import NameRules


class _Hit(NamedTuple):
    """Where a pattern found itself in a name: what stands before it, itself, and what is left over."""

    before: str
    literal: str
    rest: str


class Matcher:
    """The models of one provider's list, by name."""

    def __init__(self, provider: Provider, rules: NameRules) -> None:
        self._provider = provider.id
        self._rules = rules
        self._exact: dict[str, ModelInfo] = {}
        self._patterns: list[tuple[ModelInfo, MatchLogic]] = []
        for model in provider.models:
            for clause in _alternatives(model.match):
                if isinstance(clause, ClauseEquals):
                    self._exact.setdefault(clause.equals.lower(), model)
                else:
                    self._patterns.append((model, clause))
        for model in provider.models:
            self._exact.setdefault(model.id.lower(), model)

    def exactly(self, name: str) -> ModelInfo | None:
        """The model that the list names just so. The name is in lower case."""
        return self._exact.get(name)

    def find(self, name: str) -> ModelInfo | None:
        """The model that the name means, or None. The name is in lower case."""
        return self._exact.get(name) or next(
            (model for model, hit in self._hits(name) if self._is_sure(model, hit)), None
        )

    def _hits(self, name: str) -> Iterator[tuple[ModelInfo, _Hit]]:
        tuned = name.startswith("ft:")
        for model, clause in self._patterns:
            # A list may file a fine-tuned model under its base, which costs less.
            if clause.is_match(name) and (not tuned or model.id.startswith("ft:")):
                for hit in _places(clause, name):
                    yield model, hit

    def _is_sure(self, model: ModelInfo, hit: _Hit) -> bool:
        return self._rules.may_begin(self._provider, hit.before) and self._rules.may_end(
            model.id, hit.literal, hit.rest
        )


def begins_a_word(clause: MatchLogic, text: str) -> bool:
    """Whether a clause that matches the text finds itself at the start of one of its words."""
    return any(not hit.before or not hit.before[-1].isalnum() for hit in _places(clause, text))


def _alternatives(clause: MatchLogic) -> Iterator[MatchLogic]:
    if isinstance(clause, ClauseOr):
        for one in clause.or_:
            yield from _alternatives(one)
    else:
        yield clause


def _places(clause: MatchLogic, name: str) -> Iterator[_Hit]:
    """Where a clause that matches the name does so; of several that all must, where any of them does."""
    if isinstance(clause, ClauseStartsWith):
        cut = len(clause.starts_with)
        yield _Hit("", name[:cut], name[cut:])
    elif isinstance(clause, ClauseEndsWith):
        cut = len(name) - len(clause.ends_with)
        yield _Hit(name[:cut], name[cut:], "")
    elif isinstance(clause, ClauseContains):
        before, literal, rest = name.partition(clause.contains.lower())
        yield _Hit(before, literal, rest)
    elif isinstance(clause, ClauseRegex):
        match = re.search(clause.regex, name)
        if match is not None and match.group():
            yield _Hit(name[: match.start()], match.group(), name[match.end() :])
    elif isinstance(clause, ClauseEquals):
        yield _Hit("", name, "")
    elif isinstance(clause, ClauseAnd):
        for one in clause.and_:
            yield from _places(one, name)
    else:
        for one in _alternatives(clause):
            if one.is_match(name):
                yield from _places(one, name)
