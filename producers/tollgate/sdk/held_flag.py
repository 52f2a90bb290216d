"""A flag in the form in which a service keeps a million of them."""

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.output_words import Action, FlagState
from tollgate.schemas.text_rules import INSTANT_PATTERN, PERCENT_PATTERN, USD_PATTERN
from tollgate.schemas.vocabulary import WindowKind
from tollgate.sdk.call_scopes import excepted_calls, is_excepted

if TYPE_CHECKING:
    from collections.abc import Set

    from tollgate.schemas.outputs import Flag


def _whole(pattern: str) -> Meta:
    # Python's `$` lets a line break follow.
    return Meta(pattern=pattern.removesuffix("$") + r"\Z")


_Instant = Annotated[str, _whole(INSTANT_PATTERN)]
_Measure = Annotated[str, _whole(USD_PATTERN)]
_Percent = Annotated[str, _whole(PERCENT_PATTERN)]

_STRICTNESS: Final = {FlagState.OK: 0, FlagState.WARNING: 1, FlagState.BLOCKED: 2, FlagState.STOPPED: 3}
# Kinds of flags that are shared. Honest flags have a few for each budget and window; more are not shared any more.
_KINDS_MAX: Final = 10_000


class FlagWindow(msgspec.Struct, frozen=True, gc=False):
    """`outputs.Window`."""

    kind: WindowKind
    start: _Instant
    end: _Instant
    timezone: str = "UTC"


class _Record(msgspec.Struct, gc=False):
    """`outputs.Flag`, as it is read."""

    scope: str
    state: FlagState
    blocked: bool
    reason: str
    since: _Instant
    revision: Annotated[int, Meta(ge=1)]
    action: Action | None = None
    budget: str | None = None
    window: FlagWindow | None = None
    limit: _Measure | None = None
    unit: str | None = None
    spent: _Measure | None = None
    percent: _Percent | None = None
    until: _Instant | None = None
    note: str | None = None
    reserved: _Measure | None = None
    can_exceed_by: _Measure | None = None
    except_: tuple[str, ...] | None = msgspec.field(default=None, name="except")
    incomplete: bool | None = None


class FlagNumbers(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one flag has to itself. `limit` and `budget` are None where the flag's kind has them."""

    revision: int
    since_ms: int
    spent: str | None = None
    percent: str | None = None
    limit: str | None = None
    budget: str | None = None
    reserved: str | None = None
    can_exceed_by: str | None = None
    note: str | None = None
    incomplete: bool | None = None


class FlagKind(msgspec.Struct, frozen=True, gc=False):
    """What thousands of flags have in common. `excepts` has, for each scope that the flag leaves alone, the single
    scopes that it is made of; `rank` orders flags by what is told first, see `decision.decide`.
    """

    state: FlagState
    blocked: bool
    reason: str
    action: Action | None
    window: FlagWindow | None
    unit: str | None
    until: str | None
    except_: tuple[str, ...] | None
    limit: str | None
    budget: str | None
    until_ms: int | None
    excepts: tuple[frozenset[str], ...]
    rank: tuple[bool, bool, int, float]


_read: Final = msgspec.json.Decoder(_Record).decode
_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(FlagNumbers).decode
_kinds: Final[dict[tuple[object, ...], FlagKind]] = {}


class HeldFlag(msgspec.Struct, frozen=True, gc=False):
    """A flag of some 200 bytes. In force in `[since, until)`; without `until` for good."""

    scope: str
    kind: FlagKind
    packed: bytes

    @classmethod
    def read(cls, value: bytes) -> "HeldFlag":
        """From a record of the flags topic. ValueError when it is no flag, or its end is no instant."""
        flag = _read(value)
        kind = _kind_of(flag)
        is_shared = kind.budget is not None
        numbers = FlagNumbers(
            flag.revision,
            parse_instant(flag.since),
            flag.spent,
            flag.percent,
            None if is_shared else flag.limit,
            None if is_shared else flag.budget,
            flag.reserved,
            flag.can_exceed_by,
            flag.note,
            flag.incomplete,
        )
        return cls(flag.scope, kind, _pack(numbers))

    @classmethod
    def of(cls, flag: "Flag") -> "HeldFlag":
        """From a model. ValueError when its end is no instant."""
        return cls.read(flag.model_dump_json(by_alias=True).encode())

    @property
    def revision(self) -> int:
        """The higher one of two flags of a scope is newer."""
        return _unpack(self.packed).revision

    @property
    def numbers(self) -> FlagNumbers:
        """What the flag says beside its kind, decoded; with the limit and the budget."""
        own, kind = _unpack(self.packed), self.kind
        if kind.budget is None:
            return own
        return FlagNumbers(
            own.revision,
            own.since_ms,
            own.spent,
            own.percent,
            kind.limit,
            kind.budget,
            own.reserved,
            own.can_exceed_by,
            own.note,
            own.incomplete,
        )

    @property
    def flag(self) -> "Flag":
        """The flag as a model."""
        # The models take most of a second's tenth to import, and few services ask for one.
        from tollgate.schemas.outputs import Flag, Window

        kind, numbers = self.kind, msgspec.structs.asdict(self.numbers)
        since_ms = numbers.pop("since_ms")
        window = None if kind.window is None else Window.model_construct(**msgspec.structs.asdict(kind.window))
        return Flag.model_construct(
            scope=self.scope,
            state=kind.state,
            blocked=kind.blocked,
            action=kind.action,
            reason=kind.reason,
            window=window,
            unit=kind.unit,
            until=kind.until,
            since=format_instant(since_ms),
            **numbers,
            **{"except": None if kind.except_ is None else list(kind.except_)},  # type: ignore[arg-type] # its alias
        )

    def in_force(self, now_ms: int) -> bool:
        """Whether the flag says anything at this instant: at `until` exactly it does not any more."""
        kind = self.kind
        return kind.state is not FlagState.OK and (kind.until_ms is None or now_ms < kind.until_ms)

    def leaves_alone(self, singles: "Set[str]") -> bool:
        """Whether the flag says nothing about a call that has these single scopes (`provider/groq`, `user/u1`)."""
        excepts = self.kind.excepts
        return bool(excepts) and is_excepted(excepts, singles)


def _kind_of(flag: _Record) -> FlagKind:
    """The kind of a flag, the same object for all flags of it."""
    # A budget on a pattern, or of a plan, is that of many scopes; another one's id would make a kind for each flag.
    budget = (
        flag.budget if flag.budget is not None and ("*" in flag.budget or flag.budget.startswith("plan/")) else None
    )
    limit = flag.limit if budget is not None else None
    shared = (
        flag.state, flag.blocked, flag.reason, flag.action, flag.window, flag.unit, flag.until, flag.except_,
        limit, budget,
    )  # fmt: skip
    kind = _kinds.get(shared)
    if kind is None:
        until_ms = None if flag.until is None else parse_instant(flag.until)
        excepts = excepted_calls(flag.except_ or ())
        lasts = float("inf") if until_ms is None else until_ms
        rank = (flag.blocked, flag.reason == "spending_stopped", _STRICTNESS[flag.state], lasts)
        kind = FlagKind(*shared, until_ms, excepts, rank)
        if len(_kinds) >= _KINDS_MAX:
            _kinds.clear()
        _kinds[shared] = kind
    return kind
