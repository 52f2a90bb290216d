"""A room of the console: a group of API paths, a page, and its entry in the navigation."""

from dataclasses import dataclass, field

from fastapi import APIRouter

from tollgate.console.access.callers import Role


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry in the navigation, for callers with one of these roles."""

    title: str
    path: str
    icon: str
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class Room:
    """`api` is mounted under /api/v1 and `pages` under /. Either may be empty."""

    name: str
    api: APIRouter = field(default_factory=APIRouter)
    pages: APIRouter = field(default_factory=APIRouter)
    entries: tuple[Entry, ...] = ()
