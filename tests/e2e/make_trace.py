"""Writes `trace_sample.csv`: 200 made-up requests in the form of the Azure LLM inference trace.

Row i of 1 to 199 has 1000 + 10 i context tokens and 2 i generated ones, 18 seconds apart; row 200 repeats row 199, for
two equal requests are two requests. So there are 400,990 context and 40,198 generated tokens:
200 × 1000 + 10 × (199 × 200 / 2 + 199) and 2 × (199 × 200 / 2 + 199).
"""

from datetime import datetime, timedelta
from pathlib import Path

SAMPLE = Path(__file__).with_name("trace_sample.csv")


def lines() -> list[str]:
    """The file's lines."""
    start = datetime(2023, 11, 16, 18, 17, 3)  # noqa: DTZ001 # the trace's times have no offset
    made = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for i in [*range(1, 200), 199]:
        time = start + timedelta(seconds=18 * i, microseconds=979_960)
        made.append(f"{time:%Y-%m-%d %H:%M:%S.%f}0,{1000 + 10 * i},{2 * i}")
    return made


if __name__ == "__main__":
    SAMPLE.write_text("\n".join(lines()) + "\n", encoding="utf-8")
