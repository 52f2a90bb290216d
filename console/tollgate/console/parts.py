"""What the rooms work with: one of each for a process, made in `process.py`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from tollgate.control import ControlStore
from tollgate.runtime.settings import Settings

# Every room imports this module. What the parts are made of is imported by `process.py` alone, so that none of them
# needs the others.
if TYPE_CHECKING:
    from tollgate.console.access.gate import Access
    from tollgate.console.deciding import Deciding
    from tollgate.console.health import Health
    from tollgate.console.ingest import Ingest
    from tollgate.console.live import Live
    from tollgate.console.numbers import Numbers
    from tollgate.console.price_books import PriceBooks
    from tollgate.console.sums import Sums


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one console process."""

    settings: Settings
    control: ControlStore
    live: "Live"
    numbers: "Numbers"
    access: "Access"
    ingest: "Ingest"
    deciding: "Deciding"
    sums: "Sums"
    health: "Health"
    prices: "PriceBooks"


# Not a plain function: FastAPI would call that in a thread, and a busy machine is slow to switch to it and back.
async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


TheParts = Annotated[Parts, Depends(_parts)]
