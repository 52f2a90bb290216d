"""What a round's checks ask ClickHouse."""

from collections.abc import Sequence
from typing import Any

from tollgate.runtime.settings import Settings
from tollgate.sinks.clickhouse import connect


def ask_clickhouse(settings: Settings, query: str) -> Sequence[Sequence[Any]]:
    """The rows of an answer. Blocks.

    The connection is closed: checks ask again and again until the sink has caught up, and the server bounds how many
    connections there are.
    """
    with connect(settings) as client:
        return client.query(query).result_rows
