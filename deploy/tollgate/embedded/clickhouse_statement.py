"""What the ClickHouse server must know of a statement before the engine sees it. Pure; parses no more than it needs.

ClickHouse's HTTP interface carries an INSERT and its data in one stream, and its data may be binary. The engine takes
them apart, so the statement must end where ClickHouse's own parser would end it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tollgate.embedded.errors import QueryError

SYNTAX_ERROR = 62
SUPPORT_IS_DISABLED = 344

# In ClickHouse's lexer: comments in three styles (the third nests, so only its begin is here), quoted text with `\\`
# escapes and doubled quotes, here-documents.
_TOKEN = re.compile(
    rb"""(?P<space>\s+|--[^\n]*|\#[ !][^\n]*)
       | (?P<comment>/\*)
       | (?P<quoted>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
       | (?P<word>\w+)
       | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(rb"/\*|\*/")
# Data begins after the line end that follows the format's name, or after the spaces when there is none.
_BEFORE_DATA = re.compile(rb"[ \t\f\v]*(?:\r?\n)?")
_READING = frozenset(
    {b"SELECT", b"WITH", b"FROM", b"SHOW", b"DESC", b"DESCRIBE", b"EXISTS", b"EXPLAIN", b"CHECK", b"WATCH", b"KILL"}
)
_DEDUPLICATION_TOKEN = re.compile(rb"\binsert_deduplication_token\s*=\s*'[^']", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. `data` is None unless it is an INSERT that brings its rows with it, in `data_format`.

    Then the source of the rows must come between `sql` and `sql_after`: before a SETTINGS clause, or, when the
    statement selects from `input(structure)`, in the place of that; `structure` is then the argument as it was written.
    `has_result` tells a statement that answers with rows, perhaps none, from one that only does something;
    `output_format` is what its own FORMAT clause asks for; `sql` and `sql_after` are what stands around that clause.
    Bytes that are no UTF-8 are in both as lone surrogates.
    """

    sql: str
    verb: str
    has_result: bool = False
    output_format: str | None = None
    data: bytes | None = None
    data_format: str = ""
    sql_after: str = ""
    structure: str | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    upper: bytes
    start: int
    end: int
    depth: int


def parse_statement(text: bytes) -> Statement:
    """The one statement in what a client sent.

    Raises QueryError when there is none, or more than one.
    """
    first = next((token for token in _tokens(text) if token.upper not in (b"(", b";")), None)
    if first is None:
        raise QueryError(SYNTAX_ERROR, "Code: 62. DB::Exception: Syntax error: Empty query. (SYNTAX_ERROR)")
    insert = _insert_after_with(text, first) if first.upper == b"WITH" else first
    if insert is not None and insert.upper == b"INSERT":
        return _parse_insert(text, insert)
    return _parse_other(text, first)


def _insert_after_with(text: bytes, first: _Token) -> _Token | None:
    """The INSERT of `WITH … INSERT INTO …`; None when the statement reads."""
    before: _Token | None = None
    for token in _tokens(text, first.end):
        if token.depth == 0 and token.upper == b"SELECT":
            return None
        if token.upper == b"INTO" and before is not None and before.upper == b"INSERT" and before.depth == 0:
            return before
        before = token
    return None


def refuse_deduplication_token(settings: dict[str, str]) -> None:
    """Raise QueryError when the setting is used: with it the engine loses rows of a streamed insert.

    Measured: of an insert of more than 65,536 rows the second block was taken for a repetition and dropped.
    """
    if settings.get("insert_deduplication_token"):
        raise QueryError(
            SUPPORT_IS_DISABLED,
            "Code: 344. DB::Exception: The embedded server does not take insert_deduplication_token: it would lose "
            "rows of a large insert. Leave it out and make repeats harmless in the table. (SUPPORT_IS_DISABLED)",
        )


def _tokens(text: bytes, start: int = 0) -> Iterator[_Token]:
    """Tokens without spaces and comments, each with the parentheses it stands in; lazy, as data is no SQL."""
    depth = 0
    position = start
    while match := _TOKEN.match(text, position):
        position = match.end()
        kind = match.lastgroup or "other"
        if kind == "comment":
            position = _comment_end(text, position)
        if kind in ("space", "comment"):
            continue
        token = match.group()
        if token == b")":
            depth -= 1
        yield _Token(kind, token.upper() if kind == "word" else token, match.start(), match.end(), depth)
        if token == b"(":
            depth += 1


def _comment_end(text: bytes, position: int) -> int:
    """Where the comment ends in which `position` stands: comments are nested. An open one ends with the text."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(text, position):
        depth += 1 if edge.group() == b"/*" else -1
        if depth == 0:
            return edge.end()
    return len(text)


def _statement_tokens(text: bytes, start: int = 0) -> Iterator[_Token]:
    """Tokens, none of which begins a second statement."""
    ended_at = None
    for token in _tokens(text, start):
        if token.upper == b";" and token.depth == 0:
            ended_at = token.start if ended_at is None else ended_at
        elif ended_at is not None:
            raise QueryError(
                SYNTAX_ERROR,
                f"Code: 62. DB::Exception: Syntax error (Multi-statements are not allowed): failed at position "
                f"{ended_at + 1} (end of query). (SYNTAX_ERROR)",
            )
        yield token


def _parse_insert(text: bytes, first: _Token) -> Statement:
    """Split `INSERT [INTO] [TABLE] [FUNCTION] name [(columns)] [SETTINGS …] FORMAT name|VALUES` from its data."""
    tokens = _statement_tokens(text, first.end)
    name_seen = False
    settings_start = None
    last = b""
    for token in tokens:
        after_point = last == b"."
        last = token.upper
        if token.kind == "quoted":
            name_seen = True
        if token.kind != "word" or after_point:
            continue
        if not name_seen:
            name_seen = token.upper not in (b"INTO", b"TABLE", b"FUNCTION")
        elif token.upper in (b"SELECT", b"WITH") or (token.upper == b"FROM" and token.depth == 0):
            return _parse_other(text, first)
        elif token.depth != 0:
            continue
        elif token.upper == b"SETTINGS" and settings_start is None:
            settings_start = token.start
        elif token.upper == b"VALUES":
            return _insert(text, settings_start, token.start, token.end, "Values")
        elif token.upper == b"FORMAT":
            name = next(tokens, None)
            if name is not None and name.kind == "word":
                data_format = text[name.start : name.end].decode()
                return _insert(text, settings_start, token.start, name.end, data_format)
    return _insert(text, settings_start, len(text), len(text), "Values")


def _insert(text: bytes, settings_start: int | None, head_end: int, keyword_end: int, data_format: str) -> Statement:
    if _DEDUPLICATION_TOKEN.search(text[:head_end]):
        refuse_deduplication_token({"insert_deduplication_token": "given"})
    after = _BEFORE_DATA.match(text, keyword_end)
    data_start = after.end() if after else keyword_end
    sql_end = head_end if settings_start is None else settings_start
    return Statement(
        _sql(text[:sql_end]),
        "INSERT",
        data=text[data_start:],
        data_format=data_format,
        sql_after=_sql(text[sql_end:head_end]),
    )


def _parse_other(text: bytes, first: _Token) -> Statement:
    """Find the statement's end and its own FORMAT clause, which nothing but SETTINGS may follow."""
    clause: tuple[_Token, _Token] | None = None
    keyword: _Token | None = None
    settings_seen = False
    end = len(text)
    before: _Token | None = None
    tokens = _statement_tokens(text)
    for token in tokens:
        if token.upper == b";" and token.depth == 0:
            end = min(end, token.start)
            continue
        if first.upper == b"INSERT" and before is not None and before.upper == b"INPUT" and token.upper == b"(":
            return _insert_from_input(text, tokens, before.start, token)
        after_point = before is not None and before.upper == b"."
        before = token
        if keyword is not None and token.kind in ("word", "quoted"):
            clause, keyword, settings_seen = (keyword, token), None, False
            continue
        if clause is not None and not settings_seen:
            settings_seen = token.upper == b"SETTINGS"
            clause = clause if settings_seen else None
        # An INSERT answers with nothing.
        is_format = token.depth == 0 and token.upper == b"FORMAT" and not after_point and first.upper != b"INSERT"
        keyword = token if is_format else None
    verb = first.upper.decode("utf-8", "replace")
    has_result = first.upper in _READING
    if clause is None:
        return Statement(_sql(text[:end]), verb, has_result)
    word, name = clause
    return Statement(
        _sql(text[: word.start]),
        verb,
        has_result,
        output_format=text[name.start : name.end].decode("utf-8", "replace").strip('`"'),
        sql_after=_sql(text[name.end : end]),
    )


def _insert_from_input(text: bytes, tokens: Iterator[_Token], start: int, opening: _Token) -> Statement:
    """Split `INSERT … SELECT … FROM input(structure) … FORMAT name` from its data; `start` is where `input` begins."""
    closing = next((token for token in tokens if token.upper == b")" and token.depth == opening.depth), None)
    for token in tokens:
        if token.upper != b"FORMAT" or token.depth != 0:
            continue
        name = next(tokens, None)
        if closing is None or name is None or name.kind != "word":
            break
        whole = _insert(text, None, token.start, name.end, text[name.start : name.end].decode())
        return replace(
            whole,
            sql=_sql(text[:start]),
            sql_after=_sql(text[closing.end : token.start]),
            structure=_sql(text[opening.end : closing.start]),
        )
    raise QueryError(
        SYNTAX_ERROR, "Code: 62. DB::Exception: FORMAT must be specified for function input(). (SYNTAX_ERROR)"
    )


def _sql(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
