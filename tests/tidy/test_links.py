"""Links between the documents lead somewhere: the file exists, and so does the heading behind a `#`."""

import re
from pathlib import Path

from tests.tidy import repository
from tests.tidy.repository import ROOT, listing

CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(<?([^)\s>]+)>?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z]+:")


def documents() -> list[Path]:
    return [path for path in repository.files() if path.suffix == ".md"]


def links(text: str) -> list[str]:
    """The targets of relative links; what is set as code is none."""
    return [target for target in LINK.findall(CODE.sub("", text)) if not ELSEWHERE.match(target)]


def anchors(text: str) -> set[str]:
    """The names under which GitHub shows the headings: `## What it does` is `what-it-does`."""
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(without_code)}


def problem(document: Path, target: str) -> str | None:
    """Why a link leads nowhere; None when it is right."""
    name, _, anchor = target.partition("#")
    place = (ROOT / document.parent / name).resolve() if name else ROOT / document
    if not place.is_relative_to(ROOT) or not place.exists():
        return "no such file"
    if anchor and (place.suffix != ".md" or anchor not in anchors(repository.text(place))):
        return "no such heading"
    return None


def test_every_relative_link_leads_somewhere() -> None:
    wrong = [
        f"{document}: {target}: {found}"
        for document in documents()
        for target in links(repository.text(document))
        if (found := problem(document, target)) is not None
    ]
    assert not wrong, listing(wrong)


def test_a_link_is_found_unless_it_is_code_or_leads_elsewhere() -> None:
    text = "[a](docs/a.md) `[b](b.md)` [c](https://example.com)\n```\n[d](d.md)\n```\n[e](#see-it) ![f](f.svg)"
    assert links(text) == ["docs/a.md", "#see-it", "f.svg"]


def test_a_link_to_nothing_is_a_problem() -> None:
    readme = Path("README.md")
    assert problem(readme, "docs/benchmarks.md#figures") is None
    assert problem(readme, "docs/benchmarks.md#no-such-heading") == "no such heading"
    assert problem(readme, "docs/none.md") == "no such file"
    assert problem(readme, "../outside.md") == "no such file"


def test_headings_are_named_as_on_github() -> None:
    assert anchors("# 2. One `tollgate verify`, as of a cut\n```\n# no heading\n```\n") == {
        "2-one-tollgate-verify-as-of-a-cut"
    }
