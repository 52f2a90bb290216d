"""Files of others stand here unchanged, listed, and with their licences."""

import hashlib
import re
from pathlib import Path

from tests.tidy import repository
from tests.tidy.repository import ROOT, listing

from tollgate.console.pages.vendored import VENDORED

FOLDER = Path("console/tollgate/console/pages/static/vendor")
AXE = Path("tests/browser/vendor/axe-4.14.1.min.js")
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"


def sha256(path: Path) -> str:
    return hashlib.sha256((ROOT / path).read_bytes()).hexdigest()


def test_every_vendored_file_is_what_its_package_holds() -> None:
    wrong = [one.file for one in VENDORED if sha256(FOLDER / one.file) != one.sha256]
    assert not wrong, listing(wrong)
    assert sha256(AXE) == AXE_SHA256


def test_nothing_stands_there_that_is_not_listed() -> None:
    listed = {one.file for one in VENDORED} | {name for one in VENDORED for name in one.licence_files}
    found = {path.name for path in repository.files() if path.parent == FOLDER}
    assert found == listed


def test_the_notice_names_every_vendored_package_with_its_version() -> None:
    notice = repository.text(Path("NOTICE"))
    missing = [
        one.package for one in VENDORED if not re.search(rf"{one.package.split('.')[0]} {one.version}", notice, re.I)
    ]
    assert not missing, listing(missing)


def test_a_page_or_script_loads_every_vendored_file() -> None:
    pages = [path for path in repository.files() if path.suffix in {".html", ".js"} and path.parent != FOLDER]
    text = "".join(repository.text(path) for path in pages if "console" in path.parts)
    unused = [one.file for one in VENDORED if one.file not in text]
    assert not unused, listing(unused)
