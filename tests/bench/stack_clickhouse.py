"""ClickHouse of a stack that runs, one statement at a time, for whoever fills it."""

import base64
import json
from pathlib import Path
from urllib.request import Request, urlopen

ANSWER_SECONDS_MAX = 600


class StackClickHouse:
    """Speaks to the stack's server with the stack's own password."""

    def __init__(self, port: int, data_dir: Path) -> None:
        self._url = f"http://127.0.0.1:{port}"
        password = json.loads((data_dir / "stack.json").read_text(encoding="utf-8"))["clickhouse_password"]
        self._login = base64.b64encode(f"default:{password}".encode()).decode()

    def query(self, sql: str) -> str:
        """The answer to one statement as tab-separated text."""
        headers = {"Authorization": f"Basic {self._login}"}
        request = Request(f"{self._url}/?database=tollgate", data=sql.encode(), headers=headers)
        with urlopen(request, timeout=ANSWER_SECONDS_MAX) as response:
            return str(response.read().decode().strip())
