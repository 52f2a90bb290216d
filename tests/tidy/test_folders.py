"""Rules about files and folders."""

import re
from pathlib import Path

from tests.tidy import repository
from tests.tidy.repository import ROOT, listing

SOURCE_LINES_MAX = 400
TEST_LINES_MAX = 450
README_LINES_MAX = 40
FILE_BYTES_MAX = 1_000_000
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "types", "misc", "base", "stuff"}

THIS_FILE = Path(__file__).relative_to(ROOT)
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:work|root|home/\w+|Users/\w+|opt/wheels|tmp/tollgate)\b")
REGISTRY_HOST = re.compile(r"pythonhosted\.org|pypi\.org/simple|maven\.apache\.org|repo1\.maven|registry\.npm")
INSTALL_ADDRESS = re.compile(r"--(?:extra-)?index-url|--find-links|--trusted-host")


def test_no_portion_hides_the_others_behind_an_init_file() -> None:
    assert not [path for path in repository.files() if path.parts[1:] == ("tollgate", "__init__.py")]


def test_a_module_fits_on_a_few_screens() -> None:
    long = [(str(p), n) for p in repository.source_files() if (n := repository.lines(p)) > SOURCE_LINES_MAX]
    assert not long, listing(long)


def test_a_test_module_fits_on_a_few_screens() -> None:
    long = [(str(p), n) for p in repository.python_files("tests") if (n := repository.lines(p)) > TEST_LINES_MAX]
    assert not long, listing(long)


def test_a_module_is_named_after_what_it_does() -> None:
    vague = [p for p in repository.python_files() if {p.stem, *p.parent.parts} & NAMES_THAT_SAY_NOTHING]
    assert not vague, listing(vague)


def test_every_package_says_what_it_owns_in_a_short_readme() -> None:
    wrong = []
    for package in repository.packages():
        readme = ROOT / package / "README.md"
        if not readme.is_file():
            wrong.append(f"{package}: no README.md")
        elif (count := len(readme.read_text(encoding="utf-8").splitlines())) > README_LINES_MAX:
            wrong.append(f"{package}/README.md: {count} lines")
    assert not wrong, listing(wrong)


def test_every_package_is_typed() -> None:
    assert not [package for package in repository.packages() if not (ROOT / package / "py.typed").is_file()]


def test_every_package_is_installed_checked_for_types_and_held_to_the_layers() -> None:
    pyproject = repository.text(ROOT / "pyproject.toml")
    for package in repository.packages():
        folder, name = package.parts[0], f'"tollgate.{package.name}"'
        assert f'"{folder}/tollgate"' in pyproject, f"{folder} is not in the wheel"
        assert pyproject.count(name) >= 2, f"{name} is missing from mypy's or the import linter's packages"


def test_no_file_is_large() -> None:
    large = [(str(p), n) for p in repository.files() if (n := (ROOT / p).stat().st_size) > FILE_BYTES_MAX]
    assert not large, listing(large)


def test_no_file_names_a_path_of_one_machine_or_the_host_of_a_registry() -> None:
    forbidden = (MACHINE_PATH, REGISTRY_HOST, INSTALL_ADDRESS)
    found = [
        f"{path}:{number}: {match.group()}"
        for path in repository.files()
        if path != THIS_FILE
        for number, line in enumerate((ROOT / path).read_bytes().decode("utf-8", "replace").splitlines(), 1)
        for pattern in forbidden
        if (match := pattern.search(line))
    ]
    assert not found, listing(found)
