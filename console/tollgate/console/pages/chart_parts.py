"""Parts of descriptions of charts that several pages share."""

from typing import Any


def series(name: str, role: str, colour: int, values: list[str]) -> dict[str, Any]:
    """One series; see the component `chart`."""
    return {"name": name, "role": role, "colour": colour, "values": values}


def cost_and_retail(cost: list[str], retail: list[str]) -> list[dict[str, Any]]:
    """Cost as bars, and what users were charged as a line, where they were charged anything."""
    found = [series("Cost", "bar", 1, cost)]
    return [*found, series("Retail", "line", 3, retail)] if any(value != "0" for value in retail) else found
