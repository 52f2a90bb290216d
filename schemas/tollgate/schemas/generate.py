"""Write the JSON Schemas and the AsyncAPI document that are generated from this package.

`python -m tollgate.schemas.generate` writes them to `schemas/generated` of a checkout, `--check` only compares. The
same code always gives the same bytes; a test fails when the files differ from the code.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from tollgate.schemas.asyncapi import asyncapi_document
from tollgate.schemas.audit import AuditRecord
from tollgate.schemas.control import AssignmentRecord, BudgetRecord, PlanRecord, PriceRecord, SettingRecord
from tollgate.schemas.entries import CreditEntry, ReleaseEntry, ReservationEntry
from tollgate.schemas.outputs import Alert, Balance, DeadLetterHeaders, Decision, Flag, PricedEvent, SpendRecord
from tollgate.schemas.tokens import TokenRecord
from tollgate.schemas.usage_event import UsageEvent

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
GENERATED: Final = Path(__file__).parents[2] / "generated"

# Written by `python -m tollgate.console.document`: the schemas do not know the console.
OTHERS: Final = {"openapi.json"}

MODELS: Final[dict[str, type[BaseModel]]] = {
    "usage-event": UsageEvent,
    "reservation": ReservationEntry,
    "release": ReleaseEntry,
    "credit": CreditEntry,
    "priced-event": PricedEvent,
    "spend": SpendRecord,
    "flag": Flag,
    "alert": Alert,
    "decision": Decision,
    "balance": Balance,
    "dead-letter-headers": DeadLetterHeaders,
    "budget": BudgetRecord,
    "plan": PlanRecord,
    "assignment": AssignmentRecord,
    "price": PriceRecord,
    "setting": SettingRecord,
    "token": TokenRecord,
    "audit": AuditRecord,
}


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one of `MODELS`, as a reader or sender of the topic needs it."""
    return {"$schema": DIALECT, "$id": f"urn:tollgate:schema:{name}:v1", **MODELS[name].model_json_schema()}


def generated_files() -> dict[str, str]:
    """File name → content of everything that is generated."""
    import yaml

    document = asyncapi_document()
    schemas = {f"{name}.schema.json": _json(json_schema(name)) for name in MODELS}
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    return {**schemas, "asyncapi.json": _json(document), "asyncapi.yaml": text}


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def stale_files(directory: Path = GENERATED) -> list[str]:
    """Names of files that are missing, differ from the code, or are no longer generated."""
    wanted = {name: text.encode() for name, text in generated_files().items()}
    found = {path.name: path.read_bytes() for path in _present(directory)} if directory.is_dir() else {}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def _present(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.name not in OTHERS]


def write_files(directory: Path = GENERATED) -> None:
    """Make the directory hold exactly the generated files."""
    wanted = generated_files()
    directory.mkdir(parents=True, exist_ok=True)
    for path in _present(directory):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (directory / name).write_text(text, encoding="utf-8", newline="\n")


def main(arguments: list[str]) -> int:
    """0 when done, 1 when `--check` finds a difference, 2 for a wrong argument."""
    if arguments == []:
        write_files()
        return 0
    if arguments != ["--check"]:
        sys.stderr.write("usage: python -m tollgate.schemas.generate [--check]\n")
        return 2
    stale = stale_files()
    if stale:
        sys.stderr.write(f"differ from the code: {', '.join(stale)}; run python -m tollgate.schemas.generate\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
