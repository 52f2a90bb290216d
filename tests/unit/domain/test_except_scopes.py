"""The scopes of the calls that several budgets leave alone at once, by hand."""

import pytest

from tollgate.domain.except_scopes import excepted_by_all


@pytest.mark.parametrize(
    ("each", "common"),
    [
        ([("provider/groq", "model/x")], ("provider/groq", "model/x")),
        ([("provider/groq", "model/x"), ("provider/groq", "model/x")], ("provider/groq", "model/x")),
        ([("provider/groq",), ()], ()),
        ([(), ("provider/groq",)], ()),
        ([("provider/groq", "model/x"), ("model/x",)], ("model/x",)),
        # What one leaves alone is a part of what the other does.
        ([("provider/groq",), ("provider/groq+feature/chat",)], ("provider/groq+feature/chat",)),
        # A call has one model.
        ([("model/x",), ("model/y",)], ()),
        ([("model/x",), ("user/u1",)], ("user/u1+model/x",)),
        (
            [("model/x", "org/a"), ("org/b+model/x", "feature/chat")],
            ("model/x+feature/chat", "org/a+feature/chat", "org/b+model/x"),
        ),
        ([("org/a",), ("model/x",), ("feature/chat",)], ("org/a+model/x+feature/chat",)),
        # No scope has four names.
        ([("org/a+model/x",), ("agent/b+feature/chat",)], ()),
        ([("user/a+b", "user/a%2Bmodel/b"), ("model/x",)], ("user/a%2Bmodel/b+model/x", "user/a+b+model/x")),
        ([("model/x", "of a later release", "global"), ("model/x", "global")], ("model/x",)),
    ],
)
def test_what_all_leave_alone(each: list[tuple[str, ...]], common: tuple[str, ...]) -> None:
    assert excepted_by_all(tuple(each)) == common


def test_a_flag_has_room_for_as_many_as_a_budget() -> None:
    one, other = (tuple(f"{dimension}/{n}" for n in range(64)) for dimension in ("model", "feature"))
    found = excepted_by_all((one, other))
    assert len(found) == 64
    assert all(scope.startswith("model/") and "+feature/" in scope for scope in found)
    # Shorter ones come first.
    assert excepted_by_all(((*one, "org/a"), (*other[:63], "org/a")))[0] == "org/a"
