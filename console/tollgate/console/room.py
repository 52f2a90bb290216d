"""A room of the console: a group of API paths, a page, and its entry in the navigation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    """`api` is mounted under /api/v1 and `pages` under /. Either may be empty.

    `schemas` are those of bodies that its routes read by themselves, by their names in the API's description.
    """

    name: str
    api: APIRouter = field(default_factory=APIRouter)
    pages: APIRouter = field(default_factory=APIRouter)
    entries: tuple[Entry, ...] = ()
    schemas: Mapping[str, dict[str, Any]] = field(default_factory=dict)
