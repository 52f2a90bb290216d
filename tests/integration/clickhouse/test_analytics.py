"""Every query of docs/analytics.md gives the answer printed below it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tollgate.runtime.settings import Settings
from tollgate.sinks.clickhouse import connect, migrate
from tollgate.sinks.clickhouse.migrations import parse_migration

pytestmark = pytest.mark.integration

DOCUMENT = Path(__file__).parents[3] / "docs" / "analytics.md"
DATA = Path(__file__).with_name("analytics_data.sql")

# A block of SQL and the table that follows it.
_EXAMPLE = re.compile(r"```sql\n(?P<sql>.*?)```\n\n(?P<table>(?:\|[^\n]*\|\n)+)", re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A query and its answer as printed: header first."""

    sql: str
    answer: list[list[str]]


def examples() -> list[Example]:
    """All queries of the document."""
    found = []
    for match in _EXAMPLE.finditer(DOCUMENT.read_text(encoding="utf-8")):
        header, _, *rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in match["table"].splitlines()
        ]
        found.append(Example(match["sql"], [header, *rows]))
    return found


EXAMPLES = examples()


@pytest.fixture(scope="module")
def filled(clickhouse: str) -> Iterator[Settings]:
    """A database with the example's nine events, two of them written twice."""
    made = Settings.model_validate({"clickhouse_url": clickhouse, "clickhouse_database": "analytics"})
    migrate(made)
    client = connect(made)
    for statement in parse_migration("data", DATA.read_text(encoding="utf-8")).statements:
        client.command(statement)
    yield made
    client.command("DROP DATABASE analytics")
    client.close()


def test_every_query_of_the_document_has_an_answer() -> None:
    assert len(EXAMPLES) == DOCUMENT.read_text(encoding="utf-8").count("```sql") == 33


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: " ".join(example.answer[0]))
def test_a_query_gives_the_answer_below_it(filled: Settings, example: Example) -> None:
    client = connect(filled)
    try:
        text = client.raw_query(example.sql, fmt="TabSeparatedWithNames").decode()
    finally:
        client.close()
    assert [line.split("\t") for line in text.splitlines()] == example.answer
