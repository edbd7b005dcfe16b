"""Context-free languages of bounded depth beyond Dyck's (Shi et al. 2021, arXiv:2112.09174)."""

from __future__ import annotations

from statespan.languages.bounded_grammars import matched_runs, palindromes
from statespan.languages.catalogue import LANGUAGES
from statespan.languages.formal_language import Language

__all__: list[str] = []


@LANGUAGES.register("bounded-palindromes")
def bounded_palindromes(*, symbols: int = 2, depth: int = 3) -> Language:
    """A string, #, and the string reversed, any number of times; each at most `depth` long."""
    return Language.from_machine("bounded-palindromes", palindromes(symbols, depth))


@LANGUAGES.register("bounded-anbn")
def bounded_anbn(*, depth: int = 4) -> Language:
    """Some a and as many b, any number of times; at most `depth` of them."""
    return Language.from_machine("bounded-anbn", matched_runs(depth))
