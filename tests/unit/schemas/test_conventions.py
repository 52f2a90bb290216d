"""docs/prices.md lists every key of every provider."""

import re
from pathlib import Path

from tollgate.schemas.conventions import CONVENTIONS, KNOWN_KEYS, PROVIDER_KEYS

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "prices.md"


def table() -> str:
    """The table as the document has it."""
    rows = ["| convention | keys and the dimensions they are | beside their whole |", "|---|---|---|"]
    shown: dict[int, str] = {}
    for name, keys in PROVIDER_KEYS.items():
        same = shown.setdefault(id(keys), name)
        by_dimension: dict[str, list[str]] = {}
        for key, dimension in keys.names.items():
            if name != "openai" and PROVIDER_KEYS["openai"].names.get(key) == dimension:
                continue
            by_dimension.setdefault(dimension, []).append(key)
        parts = [] if keys.names.get("prompt_tokens") is None or name == "openai" else ["those of `openai`"]
        for dimension, found in by_dimension.items() if same == name else ():
            parts.append(
                f"{', '.join(f'`{key}`' for key in found)}: {f'`{dimension}`' if dimension else 'information'}"
            )
        beside = ", ".join(f"`{part}`" for part in sorted(keys.beside))
        rows.append(f"| `{name}` | {'; '.join(parts)} | {beside} |")
    return "\n".join(rows) + "\n"


def test_the_document_has_the_table() -> None:
    assert table() in DOCUMENT.read_text(encoding="utf-8"), "copy what table() makes into docs/prices.md"


def test_every_convention_is_in_the_document() -> None:
    assert set(CONVENTIONS) == {"inclusive", "exclusive", *PROVIDER_KEYS}
    assert all(f"`{name}`" in DOCUMENT.read_text(encoding="utf-8") for name in CONVENTIONS if name != "inclusive")


def test_keys_have_the_form_of_usage_keys_and_mean_one_thing() -> None:
    for keys in PROVIDER_KEYS.values():
        for key, dimension in keys.names.items():
            assert re.fullmatch(r"[a-z][a-z0-9_]*", key)
            assert KNOWN_KEYS[key] == dimension
