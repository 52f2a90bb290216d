"""What a scope with too many usage dimensions keeps, against the recount."""

from tollgate.verification.folding import folded
from tollgate.verification.sums import Sum

HOUR, LIFETIME = "user/u1|hour|2026-11-21T10:00:00Z", "user/u1|lifetime|1970-01-01T00:00:00Z"


def test_dimensions_without_room_are_added_up_in_every_window() -> None:
    kept = {f"k{n}": n for n in range(10, 138)}
    # 0 to 9 and 138 to 199: 45 and 10,447.
    state = {LIFETIME: Sum(1, 0, 1, kept | {"other": 10_492})}
    windows = {LIFETIME: Sum(1, 0, 1, {f"k{n}": n for n in range(200)}), HOUR: Sum(1, 0, 1, {"k9": 3, "k10": 1})}
    assert folded(windows, state) == state | {HOUR: Sum(1, 0, 1, {"k10": 1, "other": 3})}


def test_a_scope_with_room_keeps_every_name() -> None:
    windows = {LIFETIME: Sum(1, 0, 1, {"a": 1, "b": 2})}
    assert folded(windows, {LIFETIME: Sum(1, 0, 1, {"a": 1, "other": 2})}) == windows


def test_other_scopes_are_left_as_they_are() -> None:
    full = Sum(1, 0, 1, {f"k{n}": 1 for n in range(128)} | {"other": 1})
    windows = {"user/u2|lifetime|1970-01-01T00:00:00Z": Sum(1, 0, 1, {"x": 1})}
    assert folded(windows, {LIFETIME: full}) == windows
