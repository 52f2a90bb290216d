"""What limits a user's reservations: the policy in force, what was counted, and the latest flags of shared scopes."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

from tollgate.domain.budgets import Position, positions
from tollgate.domain.credits import NO_FREE_CREDITS, FreeCredits
from tollgate.domain.except_scopes import is_excepted
from tollgate.domain.reservations import Blocked
from tollgate.domain.spend import ScopeSpend
from tollgate.ledger.policy import Policy
from tollgate.schemas.scopes import scope_of, scope_of_all
from tollgate.schemas.vocabulary import GLOBAL_SCOPE, Dimension, Shape

_USER: Final = Dimension.USER.value


class UserLimits:
    """See `accounts.Limits`. `spend_of` gives what a scope that contains a user has spent."""

    def __init__(self, policy: Policy, spend_of: Callable[[str], ScopeSpend | None]) -> None:
        self._spend_of = spend_of
        self.set_policy(policy)

    def set_policy(self, policy: Policy) -> None:
        """Use these budgets, plans and flags from now on."""
        self._policy = policy
        self.shapes = policy.budgets.shapes
        self._users = [shape for shape in self.shapes if shape.is_users]
        self._shared = [shape for shape in self.shapes if not shape.is_users]

    def scopes_of(self, user: str, names: Mapping[str, str]) -> tuple[str, ...]:
        """The scopes of a call that contain its user, that of the user alone first."""
        alone = scope_of(Dimension.USER, user)
        return (alone, *_combined(self._users, {**names, _USER: user})) if self._users else (alone,)

    def positions(self, scope: str, user: str, names: Mapping[str, str], now_ms: int) -> Iterable[Position]:
        """How much of each limit of the scope is spent, but for those that leave such a call alone."""
        budgets = self._policy.budgets.for_scope(scope)
        if not budgets:
            return ()
        found = positions(budgets, self._spend_of(scope), now_ms)
        return [p for p in found if not _is_excepted(p.budget.except_, user, names)]

    def blocked(self, user: str, names: Mapping[str, str], now_ms: int) -> Iterator[Blocked]:
        """The shared scopes of a call that are blocked or stopped."""
        stop = self._policy.stop
        if stop is not None and stop.stopped:
            yield Blocked(GLOBAL_SCOPE, "spending_stopped", note=stop.sentence)
        latest = self._policy.shared_flags
        single = (scope_of(Dimension(dimension), name) for dimension, name in names.items())
        for scope in (GLOBAL_SCOPE, *single, *_combined(self._shared, names)):
            flag = latest(scope)
            lapsed = flag is not None and flag.until_ms is not None and flag.until_ms <= now_ms
            if flag is not None and not lapsed and not _is_excepted(flag.except_, user, names):
                yield flag

    def free_credits(self, user: str, now_ms: int) -> FreeCredits:
        """What the user's plan gives a day, as of now: one that has ended gives nothing."""
        per_day_nano, timezone = self._policy.budgets.credits_of(user, now_ms)
        return FreeCredits(per_day_nano, timezone) if per_day_nano else NO_FREE_CREDITS


def _combined(shapes: Iterable[Shape], names: Mapping[str, str]) -> Iterator[str]:
    """The scopes of these shapes that have all their names."""
    for shape in shapes:
        found = [(dimension, names.get(dimension.value, "")) for dimension in shape.dimensions]
        if all(name for _, name in found):
            yield scope_of_all(found)


def _is_excepted(scopes: Collection[str], user: str, names: Mapping[str, str]) -> bool:
    if not scopes:
        return False
    return is_excepted(scopes, {(Dimension.USER, user), *((Dimension(name), value) for name, value in names.items())})
