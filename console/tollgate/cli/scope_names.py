"""A scope given on the command line, and where the topics keep its records."""

from tollgate.cli.exits import UsageError
from tollgate.schemas.partitions import partition_of
from tollgate.schemas.scopes import Dimension, parse_names
from tollgate.schemas.topics import DELTA_PARTITIONS


def checked_scope(text: str) -> str:
    """The text if it is a scope. UsageError says what one looks like."""
    try:
        parse_names(text)
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    return text


def partitions_of_scope(scope: str, usage_partitions: int) -> list[int]:
    """The partitions of the spend and flags topics that may hold the scope.

    The records of a user, alone or with other names, are in the same partition as the user's events. Those of shared
    scopes come from the second stage, which has fewer partitions.
    """
    names = parse_names(scope)
    if names and names[0][0] is Dimension.USER:
        return [partition_of(names[0][1].encode(), usage_partitions)]
    return list(range(DELTA_PARTITIONS))
