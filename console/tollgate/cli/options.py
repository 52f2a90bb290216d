"""Options that mean the same in every command."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

DataDir = Annotated[
    Path | None,
    Parameter(
        name="--data-dir",
        help="Directory of the embedded stack; its addresses are used where TOLLGATE_KAFKA_BOOTSTRAP_SERVERS or "
        "TOLLGATE_CLICKHOUSE_URL is not set. Default: TOLLGATE_DATA_DIR, else .tollgate",
    ),
]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON on stdout, for programs.")]

LIMIT = 1000
Limit = Annotated[int, Parameter(name="--limit", help="How many at most; of the others the number is said on stderr.")]

Reason = Annotated[str, Parameter(name="--reason", help="Why, for whoever reads the audit.")]
Actor = Annotated[
    str | None, Parameter(name="--actor", help="Who makes the change. Default: cli:USER with the user of this system.")
]
ExpectVersion = Annotated[
    int | None,
    Parameter(
        name="--expect-version",
        help="Make the change only if the record has this version; 0: only if there is none. Exit 1 otherwise.",
    ),
]


def examples(*lines: str) -> str:
    """The end of a command's help: what to type, one example per line, for `App(help_epilogue=...)`."""
    return "\n".join(["Examples:", "", *(f"    {line}" for line in lines)])
