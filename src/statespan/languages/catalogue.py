"""The catalogue: languages by name, and the ways to say a language in one line."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path

from statespan.errors import AutomatonError, InputError
from statespan.languages.formal_language import Language
from statespan.registry import Registry, bind_parameters, full_name, parse_parameters

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
    bound = bind_parameters(name, factory, parameters)
    made = factory(**bound)
    whole = full_name(name, factory, bound)
    return dataclasses.replace(
        made,
        name=whole,
        parameters=bound,
        catalogue_name=name if whole == name else None,
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
    name, parameters = parse_parameters(text)
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
