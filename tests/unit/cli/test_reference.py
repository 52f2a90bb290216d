"""docs/cli.md says what the commands say."""

import re
from pathlib import Path

from tollgate.cli.main import MOUNTS
from tollgate.cli.reference import reference

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "cli.md"


def test_the_reference_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == reference(), "run `python -m tollgate.cli.reference > docs/cli.md`"


def test_every_command_has_a_section_of_its_own() -> None:
    sections = re.findall(r"^## tollgate ([a-z-]+)", reference(), re.MULTILINE)
    assert set(sections) == {mount.name for mount in MOUNTS}
    assert "## tollgate budget set\n\n```console\ntollgate budget set --limit STR [OPTIONS] SCOPE\n" in reference()
