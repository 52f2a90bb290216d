"""Every text colour on every ground it stands on, in both themes, as WCAG 2 measures it."""

import re
from pathlib import Path

import pytest

from tollgate.console.pages import static_files

CSS = Path(static_files.FOLDER / "app.css").read_text(encoding="utf-8")
TOKEN = re.compile(r"--([\w-]+): light-dark\((#\w+|rgb\([^)]*\)|transparent), (#\w+|rgb\([^)]*\)|transparent)\)")

Colour = tuple[float, float, float, float]

TEXTS = ("text", "text-soft", "text-faint", "cyan", "violet", "amber", "ok", "warn", "over")
# Soft grounds and the text that stands on them.
BADGES = [
    ("ok", "ok-soft"),
    ("warn", "warn-soft"),
    ("over", "over-soft"),
    ("cyan", "accent-soft"),
    ("text-soft", "quiet-soft"),
]


def parsed(text: str) -> Colour:
    if text == "transparent":
        return (0, 0, 0, 0)
    if text.startswith("#"):
        red, green, blue = (int(text[at : at + 2], 16) for at in (1, 3, 5))
        return (red, green, blue, 1)
    red, green, blue, percent = map(int, re.findall(r"\d+", text))
    return (red, green, blue, percent / 100)


COLOURS = {name: (parsed(light), parsed(dark)) for name, light, dark in TOKEN.findall(CSS)}


def over(upper: Colour, lower: Colour) -> Colour:
    """One colour upon an opaque one."""
    alpha = upper[3]
    red, green, blue = (a * alpha + b * (1 - alpha) for a, b in zip(upper[:3], lower[:3], strict=True))
    return (red, green, blue, 1)


def luminance(colour: Colour) -> float:
    linear = [c / 12.92 if (c := value / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for value in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Colour, other: Colour) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def grounds(theme: int) -> list[Colour]:
    """The page, also where it glows, and a panel upon each."""
    page = COLOURS["bg"][theme]
    pages = [page, over(COLOURS["glow-a"][theme], page), over(COLOURS["glow-b"][theme], page)]
    panels = [over(COLOURS["panel"][theme], one) for one in pages]
    return [*pages, *panels, COLOURS["panel-solid"][theme], *(over(COLOURS["sunken"][theme], one) for one in panels)]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("text", TEXTS)
def test_text_can_be_read_on_every_ground(text: str, theme: int) -> None:
    assert min(contrast(COLOURS[text][theme], ground) for ground in grounds(theme)) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "soft"), BADGES)
def test_a_badge_can_be_read(text: str, soft: str, theme: int) -> None:
    worst = min(contrast(COLOURS[text][theme], over(COLOURS[soft][theme], ground)) for ground in grounds(theme))
    assert worst >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("fill", ["ok-fill", "warn-fill", "over-fill", *(f"series-{n}" for n in range(1, 9))])
def test_a_bar_stands_out_from_its_panel(fill: str, theme: int) -> None:
    panel = over(COLOURS["panel"][theme], COLOURS["bg"][theme])
    assert contrast(COLOURS[fill][theme], panel) >= 3


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_the_text_of_the_main_button_can_be_read(theme: int) -> None:
    assert contrast(COLOURS["on-accent"][theme], COLOURS["accent-fill"][theme]) >= 4.5


def test_black_on_white_is_twenty_one_to_one() -> None:
    assert round(contrast((0, 0, 0, 1), (255, 255, 255, 1)), 3) == 21
