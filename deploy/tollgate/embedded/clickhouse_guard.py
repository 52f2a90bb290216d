"""What the engine's own settings cannot shut off: seen in the statement as the engine itself understood it. Pure.

Grants close every table function that reaches a file or an address. They know nothing of the clauses INFILE and
OUTFILE, the function `file`, chDB's `Python` table function, some table engines, the engines of databases and the
sources of dictionaries. These are looked for in the text that the engine's formatter makes of the parsed statement:
there are no comments in it, no escapes in names, and keywords are in capitals.
"""

import re
from itertools import pairwise

from tollgate.embedded.errors import QueryError

ACCESS_DENIED = 497
SUPPORT_IS_DISABLED = 344

# Statements that change nothing that outlives their session. EXPLAIN is none: some of its kinds run what they explain.
_READING_VERBS = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "EXISTS", "SET", "USE"})

_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|\w+|\S", re.DOTALL)
# Called like a function: the first reads any file, the others run programs, read this process, or parse text again.
_CALLS = frozenset({"file", "executable", "python", "eval", "disk"})
_DEFINITIONS = frozenset({"CREATE", "ATTACH", "REPLACE"})
_ENGINES = frozenset(
    {
        *("Atomic", "Ordinary", "Memory", "Null", "Set", "Join", "Log", "TinyLog", "StripeLog", "Buffer", "Merge"),
        *("View", "MaterializedView", "GenerateRandom", "Dictionary", "Alias"),
    }
)
# A dictionary may copy a table of the engine's own; other keys name a host, or hold SQL as text.
_DICTIONARY_KEYS = frozenset({"TABLE", "DB", "USER", "PASSWORD"})


def verb_of(formatted: str) -> str:
    """The formatted statement's first word in capitals."""
    found = _TOKEN.search(formatted)
    return found.group().upper() if found else ""


def only_reads(formatted: str) -> bool:
    """Whether the statement changes nothing; others may run beside it, so that the first word is not all."""
    return verb_of(formatted) in _READING_VERBS and ("PARALLEL", "WITH") not in pairwise(_TOKEN.findall(formatted))


def refuse_the_outside(formatted: str) -> None:
    """Raise QueryError when a statement, as the engine's formatter writes it, leaves the engine's own data."""
    tokens = [match.group() for match in _TOKEN.finditer(formatted)]
    defines = not _DEFINITIONS.isdisjoint(tokens)
    for position, (word, after) in enumerate(pairwise(tokens)):
        if after == "(" and word.strip("`").lower() in _CALLS and not _is_table_name(tokens, position):
            raise _denied(f"function {word}")
        third = tokens[position + 2] if position + 2 < len(tokens) else ""
        if (word, after) in (("INTO", "OUTFILE"), ("FROM", "INFILE")) and third.startswith("'"):
            # In ClickHouse it is the client that reads or writes this file; the engine would take the server's.
            raise QueryError(
                SUPPORT_IS_DISABLED,
                f"Code: 344. DB::Exception: The embedded server does not take {word} {after}: files are the client's, "
                "so send rows in the request and take them from the answer. (SUPPORT_IS_DISABLED)",
            )
        if defines and (word, after) == ("ENGINE", "=") and not _is_own_engine(third.strip("`")):
            raise _denied(f"engine {third}")
        if defines and (word, after) == ("SOURCE", "(") and not _is_own_source(tokens[position + 2 :]):
            raise _denied(f"dictionary source {third}")
        if defines and word == "FROM" and after.startswith("'"):
            raise _denied("ATTACH … FROM a directory")


def _is_table_name(tokens: list[str], position: int) -> bool:
    """Whether a new table's or an insert's own name stands there: a table may be called like a function."""
    before = tokens[max(position - 2, 0) : position]
    return before[-1:] in (["INTO"], ["."]) or (before[-1:] == ["TABLE"] and before[0] in (*_DEFINITIONS, "TEMPORARY"))


def _is_own_engine(name: str) -> bool:
    return name in _ENGINES or name.endswith("MergeTree")


def _is_own_source(tokens: list[str]) -> bool:
    """Whether it is `CLICKHOUSE(KEY 'value' …)` of this engine, or `NULL()`; the tokens begin after `SOURCE(`."""
    if tokens[:4] == ["NULL", "(", ")", ")"]:
        return True
    end = tokens.index(")") if ")" in tokens else 0
    pairs = tokens[2:end]
    return (
        tokens[:2] == ["CLICKHOUSE", "("]
        and _DICTIONARY_KEYS.issuperset(pairs[::2])
        and all(value.startswith("'") for value in pairs[1::2])
    )


def _denied(what: str) -> QueryError:
    return QueryError(
        ACCESS_DENIED,
        f"Code: 497. DB::Exception: default: Not enough privileges. The embedded server does not take {what}: a query "
        "reaches the data of its server and nothing else. (ACCESS_DENIED)",
    )
