"""Phrases about the symbols of a word, in which classes of symbols stand for letters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from statespan.languages import Alphabet

__all__ = ["Names", "Pattern", "join_words", "name_symbol", "name_symbols"]

Pattern: TypeAlias = tuple[int, ...]
"""Classes of symbols, one behind the other."""

ANY = "any symbol"
MAX_LISTED = 6


def join_words(words: Sequence[str], conjunction: str = "or") -> str:
    """Return words as a list in a sentence.

    >>> join_words(["a"]), join_words(["a", "b"]), join_words(["a", "b", "c"], "and")
    ('a', 'a or b', 'a, b and c')
    """
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {conjunction} {words[-1]}"


def name_symbol(symbol: str) -> str:
    """Return a symbol as it stands in a sentence: in quotes, if it has no letter or digit."""
    return symbol if any(map(str.isalnum, symbol)) and " " not in symbol else f"'{symbol}'"


def name_symbols(symbols: Iterable[str], alphabet: Alphabet) -> str:
    """Return a set of symbols as it stands in a sentence, by its complement if that is shorter.

    >>> name_symbols({"a", "b"}, tuple("abc")), name_symbols({"a", "b", "d"}, tuple("abcd"))
    ('a or b', 'a symbol other than c')
    """
    inside = [symbol for symbol in alphabet if symbol in set(symbols)]
    outside = [name_symbol(symbol) for symbol in alphabet if symbol not in inside]
    if not outside:
        return ANY if len(alphabet) > 1 else name_symbol(alphabet[0])
    if len(inside) > 2 and len(outside) < len(inside) and len(outside) <= MAX_LISTED:
        return f"a symbol other than {join_words(outside)}"
    named = [name_symbol(symbol) for symbol in inside]
    if len(named) > MAX_LISTED:
        return f"one of {len(named)} symbols ({', '.join(named[:MAX_LISTED])}, …)"
    return join_words(named)


@final
@dataclass(frozen=True, slots=True)
class Names:
    """The symbols of each class of letters."""

    alphabet: Alphabet
    classes: tuple[frozenset[str], ...]

    def one_of(self, classes: Iterable[int]) -> str:
        """Return "a or b" for classes of symbols."""
        named = name_symbols(self.symbols(classes), self.alphabet)
        return "a symbol" if named == ANY else named

    def symbols(self, classes: Iterable[int]) -> frozenset[str]:
        """Return the symbols in the classes."""
        return frozenset().union(*(self.classes[letter] for letter in classes))

    def spell(self, pattern: Pattern) -> str:
        """Return a pattern: "aab", or "{a,b}c" where a place can hold several symbols."""
        places = [self._place(letter) for letter in pattern]
        compact = all(len(symbol) == 1 for symbol in self.alphabet)
        return ("" if compact else " ").join(places) or "ε"

    def _place(self, letter: int) -> str:
        symbols = [symbol for symbol in self.alphabet if symbol in self.classes[letter]]
        if len(symbols) == 1:
            return symbols[0]
        others = [symbol for symbol in self.alphabet if symbol not in symbols]
        if len(symbols) > MAX_LISTED and len(others) <= MAX_LISTED:
            return f"{{not {','.join(others)}}}"
        return f"{{{','.join(symbols)}}}"

    def any_of(self, patterns: Iterable[Pattern]) -> str:
        """Return "a, bb or bc" for patterns; those of one symbol are put together."""
        listed = sorted(set(patterns), key=lambda pattern: (len(pattern), pattern))
        single = [pattern[0] for pattern in listed if len(pattern) == 1]
        longer = [self.spell(pattern) for pattern in listed if len(pattern) != 1]
        return join_words([*([self.one_of(single)] if single else []), *longer])

    def since(self, sets: Iterable[Pattern], resets: Iterable[Pattern], *, at_start: bool) -> str:
        """Return what a memory says that `sets` make true and `resets` make false."""
        made, undone = self.any_of(sets), self.any_of(resets)
        if at_start:
            if not made:
                return f"{_none_of(undone)} has been read"
            return f"{_none_of(undone)} has been read since the start or the last {_bare(made)}"
        if not undone:
            return f"{made} has been read"
        return f"{made} has been read, and {_none_of(undone)} since"


def _none_of(listed: str) -> str:
    return f"no {_bare(listed)}"


def _bare(listed: str) -> str:
    return listed.removeprefix("a ") if listed.startswith("a symbol") else listed
