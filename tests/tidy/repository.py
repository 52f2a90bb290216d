"""The files of the checkout as the tidy tests see them: what git tracks, or would track."""

import ast
import subprocess
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE_FOLDERS = ("schemas", "runtime", "processors", "sinks", "producers", "console", "deploy")


@lru_cache(maxsize=1)
def files() -> tuple[Path, ...]:
    """Every file that is committed or could be, relative to the root; ignored files are left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    return tuple(sorted(Path(name) for name in listed if name and (ROOT / name).is_file()))


def python_files(*folders: str) -> list[Path]:
    """The Python files under these folders (all when none is given)."""
    return [path for path in files() if path.suffix == ".py" and (not folders or path.parts[0] in folders)]


def source_files() -> list[Path]:
    """The modules of the product, without its tests."""
    return python_files(*SOURCE_FOLDERS)


def packages() -> list[Path]:
    """The folders of the packages that a user can import: `schemas/tollgate/schemas` and its like."""
    found = {Path(*path.parts[:3]) for path in source_files() if len(path.parts) > 3 and path.parts[1] == "tollgate"}
    return sorted(found)


def text(path: Path) -> str:
    """The file as UTF-8."""
    return (ROOT / path).read_text(encoding="utf-8")


def tree(path: Path) -> ast.Module:
    """The module's syntax tree."""
    return ast.parse(text(path), filename=str(path))


def lines(path: Path) -> int:
    """How many lines the file has."""
    return len(text(path).splitlines())


def listing(found: Iterable[object]) -> str:
    """What a failed assertion prints: one finding per line."""
    return "".join(f"\n  {item}" for item in found)
