"""What a console process holds in memory and streams. See README.md."""

from tollgate.console.live.frames import Frame
from tollgate.console.live.freshness import Freshness
from tollgate.console.live.live import Live

__all__ = ["Frame", "Freshness", "Live"]
