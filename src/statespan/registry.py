"""The one way to give a thing a name that a file or a shell can say."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Final, Generic, TypeVar

from statespan.errors import InputError, UnknownNameError

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of thing, with near-miss suggestions and entry points.

    Third parties add a member by an entry point in the group `statespan.<plural>`; it is loaded
    when a name is asked for that is not known yet, or when all names are listed.

    Example:
        >>> colors: Registry[int] = Registry("color", "colors")
        >>> colors.add("red", 1)
        1
        >>> colors.get("red")
        1
        >>> colors.get("rde")
        Traceback (most recent call last):
        statespan.errors.UnknownNameError: unknown color 'rde'. Did you mean red?
    """

    def __init__(self, kind: str, plural: str) -> None:
        self.kind: Final = kind
        self.group: Final = f"statespan.{plural}"
        self._members: dict[str, T] = {}
        self._entry_points_loaded = False

    def add(self, name: str, member: T) -> T:
        """Register `member` as `name` and return it; a name is given once.

        Raises:
            InputError: `name` is already taken by something else.
        """
        if self._members.get(name, member) is not member:
            raise InputError(f"the {self.kind} name {name!r} is already taken.")
        self._members[name] = member
        return member

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers what it decorates as `name`."""
        return lambda member: self.add(name, member)

    def get(self, name: str, *, hint: str = "") -> T:
        """Return the member called `name`.

        Raises:
            UnknownNameError: nothing has that name; near names (and `hint`) are in the message.
        """
        if name not in self._members:
            self._load_entry_points()
        if name not in self._members:
            raise UnknownNameError(self.kind, name, self._members, hint)
        return self._members[name]

    def names(self) -> list[str]:
        """Return all names, in the order of registration."""
        self._load_entry_points()
        return list(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members or name in self.names()

    def _load_entry_points(self) -> None:
        if self._entry_points_loaded:
            return
        self._entry_points_loaded = True
        for point in entry_points(group=self.group):
            if point.name not in self._members:
                self.add(point.name, point.load())
