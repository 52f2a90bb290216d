"""Write the API's description: `python -m tollgate.console.document` writes it to a checkout, `--check` only compares.

The same code always gives the same bytes; a test fails when the file differs from the code.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

from tollgate.console.app import create_app
from tollgate.console.parts import Parts
from tollgate.console.rooms import ROOMS
from tollgate.runtime.settings import Settings

FILE: Final = Path(__file__).parents[3] / "schemas" / "generated" / "openapi.json"


def openapi_document() -> dict[str, Any]:
    """The description of every room's paths, made without starting anything."""
    # A description needs no part that works.
    parts = SimpleNamespace(settings=Settings.model_construct())
    return create_app(cast("Parts", parts), ROOMS).openapi()


def openapi_text() -> str:
    """The bytes of the file, as text."""
    return json.dumps(openapi_document(), indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """0 when done, 1 when `--check` finds a difference, 2 for a wrong argument."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m tollgate.console.document [--check]", file=sys.stderr)  # noqa: T201 # what a command tells its user
        return 2
    text = openapi_text()
    if not arguments:
        FILE.write_text(text, encoding="utf-8", newline="\n")
        return 0
    if FILE.is_file() and FILE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{FILE} is not what the code says: python -m tollgate.console.document", file=sys.stderr)  # noqa: T201 # what a command tells its user
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
