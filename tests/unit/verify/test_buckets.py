"""What is compared with each other is in the same bucket."""

from pathlib import Path

from tollgate.verification.following import Kind, Row, add_row
from tollgate.verification.snapshot import Cut
from tollgate.verification.spill import Spill
from tollgate.verification.state import scope_of
from tollgate.verification.view import load

RESERVATION = b'["o",50000000000,0,1796001520711,{"feature":"video"},{}]'


def test_the_flag_of_a_combination_is_beside_the_reservations_of_its_user(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "rows", 16)
    users = [f"u%{number}" for number in range(100)]
    for user in users:
        key = f"h|{user.replace('%', '%25')}|chat-api|r1".encode()
        owner = scope_of(key)
        assert owner == f"user/{user}"
        add_row(spill, owner, Row(Kind.USER_STATE, 0, 1, key, RESERVATION))
        scope = f"user/{user}+feature/video"
        add_row(spill, scope, Row(Kind.FLAG, 0, 1, scope.encode(), b"{}"))
    found = {}
    for bucket in range(16):
        view = load(spill, bucket, Cut(1, user_rows={0: 2}))
        for scope in view.flags:
            user, _, _ = scope.removeprefix("user/").partition("+")
            found[user] = [(held.picousd, held.names) for held in view.open_of(user)]
    assert found == {user: [(50_000_000_000, {"feature": "video"})] for user in users}
