"""Flags in words for people."""

from tollgate.schemas.outputs import Flag


def sentence(flag: Flag) -> str:
    """`user/u-42 is blocked: 104.2 of 100 usd in this month`."""
    numbers = ""
    if flag.spent is not None and flag.limit is not None:
        window = f" in this {flag.window.kind.value}" if flag.window is not None else ""
        numbers = f": {flag.spent} of {flag.limit} {flag.unit}{window}"
    state = "has a warning" if not flag.blocked else f"is {flag.state.value}"
    # A plan limit says what to do; why all is stopped has a place of its own.
    advice = f"; {flag.note}" if flag.note is not None and flag.budget is not None else ""
    return f"{flag.scope} {state}{numbers}{advice}"
