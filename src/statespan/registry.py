"""The one way to give a thing a name that a file or a shell can say."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Final, Generic, TypeVar

from statespan.errors import InputError, UnknownNameError, suggest

__all__ = ["Registry", "bind_parameters", "full_name", "parse_parameters"]

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


def parse_parameters(text: str) -> tuple[str, dict[str, str]]:
    """Return the name and the parameters that `text` (`name:key=value,...`) says.

    Raises:
        InputError: a parameter is not key=value.

    Example:
        >>> parse_parameters("bounded-dyck:brackets=2,depth=3")
        ('bounded-dyck', {'brackets': '2', 'depth': '3'})
    """
    name, _, listed = text.partition(":")
    parameters: dict[str, str] = {}
    for item in listed.split(",") if listed else []:
        key, equals, value = item.partition("=")
        if not equals:
            raise InputError(f"a parameter is key=value, got {item!r} in {text!r}.")
        parameters[key.strip()] = value.strip()
    return name, parameters


def bind_parameters(
    name: str, factory: Callable[..., object], given: Mapping[str, object]
) -> dict[str, Any]:
    """Return all parameters of `factory`: those given, converted and checked, or their defaults.

    `name` is what the factory is called in messages. Its parameters are whole numbers, numbers or
    strings, by keyword, each with a default.

    Raises:
        InputError: an unknown parameter, or one of the wrong type.
    """
    bound = _defaults(factory)
    types = inspect.get_annotations(factory, eval_str=True)
    for key, value in given.items():
        if key not in bound:
            raise InputError(f"{name} has no parameter {key!r}. {suggest(key, bound)}")
        bound[key] = _convert(name, key, value, types[key])
    return bound


def full_name(name: str, factory: Callable[..., object], bound: Mapping[str, object]) -> str:
    """Return `name` with the parameters that are not the defaults of `factory`, as it is parsed."""
    defaults = _defaults(factory)
    changed = [f"{key}={value}" for key, value in bound.items() if value != defaults[key]]
    return f"{name}:{','.join(changed)}" if changed else name


def _defaults(factory: Callable[..., object]) -> dict[str, Any]:
    signature = inspect.signature(factory)
    return {key: parameter.default for key, parameter in signature.parameters.items()}


def _convert(name: str, key: str, value: object, kind: type) -> object:
    need = {int: "a whole number", float: "a number", str: "a string"}[kind]
    wrong = InputError(f"the parameter {key} of {name} must be {need}, got {value!r}.")
    if isinstance(value, str) and kind is not str:
        try:
            return kind(value)
        except ValueError:
            raise wrong from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, kind):
        raise wrong
    return value
