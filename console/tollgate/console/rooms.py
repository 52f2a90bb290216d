"""The rooms of the console, in the order of the navigation."""

from tollgate.console.room import Room

ROOMS: tuple[Room, ...] = ()
