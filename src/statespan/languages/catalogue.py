"""The catalogue: languages by name, and the ways to say a language in one line."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from statespan.errors import AutomatonError, InputError, suggest
from statespan.languages.formal_language import Language
from statespan.registry import Registry

__all__ = ["LANGUAGES", "language", "language_from_file", "language_from_text"]

LANGUAGES: Registry[Callable[..., Language]] = Registry("language", "languages")
"""Name -> factory; a factory takes keyword-only parameters with defaults."""

_NAME = re.compile(r"([A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*)(?::(.*))?", re.DOTALL)


def language(name: str, **parameters: object) -> Language:
    """Return the language of the catalogue called `name`.

    Raises:
        UnknownNameError: there is none; near names are in the message.
        InputError: an unknown parameter, or one of the wrong type or out of range.

    Example:
        >>> language("parity").accepts("0110")
        True
        >>> language("bounded-dyck", brackets=2, depth=3).alphabet
        ('(a', '(b', 'a)', 'b)')
    """
    factory = LANGUAGES.get(
        name, hint=f"(A plain word as an expression goes in parentheses: ({name}).)"
    )
    bound = _bind(name, factory, parameters)
    made = factory(**bound)
    changed = {key: value for key, value in bound.items() if value != _defaults(factory)[key]}
    listed = ",".join(f"{key}={value}" for key, value in changed.items())
    return dataclasses.replace(
        made,
        name=f"{name}:{listed}" if listed else name,
        parameters=bound,
        catalogue_name=None if listed else name,
        description=(inspect.getdoc(factory) or "").partition("\n")[0],
    )


def language_from_text(text: str, *, alphabet: Sequence[str] | None = None) -> Language:
    """Return the language that one line names: what the shell and the configs take.

    In this order: a name of the catalogue, with parameters behind a colon
    (`bounded-dyck:brackets=2,depth=3`); a file that ends in `.json` (an automaton's table); else a
    regular expression. A plain word that looks like a name (it has a `-`, a `_` or a colon, or is
    near a name) is never taken for an expression: as one, it goes in parentheses. `alphabet` is
    for expressions, when it is more than the symbols used.

    Raises:
        InputError: an alphabet for something that has its own.
        UnknownNameError: `text` looks like a name and there is none.
        ExpressionError: `text` is an expression that does not parse.

    Example:
        >>> language_from_text("(ab)*").accepts("abab")
        True
    """
    if text.endswith(".json"):
        _refuse_alphabet(text, alphabet)
        return language_from_file(Path(text))
    match = _NAME.fullmatch(text)
    if match is None or not _is_meant_as_name(match[1], match[2]):
        return Language.from_expression(text, alphabet=alphabet)
    _refuse_alphabet(text, alphabet)
    name, listed = match.groups()
    parameters: dict[str, object] = {}
    for item in (listed or "").split(",") if listed else []:
        key, equals, value = item.partition("=")
        if not equals:
            raise InputError(f"a parameter is key=value, got {item!r} in {text!r}.")
        parameters[key.strip()] = value.strip()
    return language(name, **parameters)


def _refuse_alphabet(text: str, alphabet: Sequence[str] | None) -> None:
    if alphabet is not None:
        raise InputError(f"an alphabet is for an expression; {text!r} has its own.")


def _is_meant_as_name(name: str, parameters: str | None) -> bool:
    if parameters is not None or "-" in name or "_" in name or name in LANGUAGES:
        return True
    return bool(get_close_matches(name, LANGUAGES.names(), n=1, cutoff=0.7))


def language_from_file(path: Path) -> Language:
    """Return the language of the automaton whose table is in the JSON file `path`.

    Raises:
        AutomatonError: the file cannot be read, is no JSON, or no complete deterministic automaton.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AutomatonError(f"cannot read the automaton {path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise AutomatonError(f"the automaton {path} is no JSON: {error}.") from error
    return Language.from_dfa(table, name=path.stem)


def _defaults(factory: Callable[..., Language]) -> dict[str, Any]:
    signature = inspect.signature(factory)
    return {key: parameter.default for key, parameter in signature.parameters.items()}


def _bind(
    name: str, factory: Callable[..., Language], parameters: Mapping[str, object]
) -> dict[str, Any]:
    """Return all parameters of `factory`: the given ones, converted and checked, or defaults."""
    bound = _defaults(factory)
    types = inspect.get_annotations(factory, eval_str=True)
    for key, value in parameters.items():
        if key not in bound:
            raise InputError(f"{name} has no parameter {key!r}. {suggest(key, bound)}")
        bound[key] = _convert(name, key, value, types[key])
    return bound


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
