"""What may be said: alphabets, words, automata, expressions, exact oracles, seeded samplers."""

import statespan.languages.definitions  # noqa: F401  (registers the catalogue)
from statespan.languages.automaton import DFA
from statespan.languages.catalogue import (
    LANGUAGES,
    language,
    language_from_file,
    language_from_text,
)
from statespan.languages.counting import WordCounter
from statespan.languages.formal_language import Language, Sampler
from statespan.languages.machine import Machine
from statespan.languages.symbols import (
    END,
    Alphabet,
    End,
    NextSymbols,
    Word,
    show_word,
    sort_next_symbols,
)

__all__ = [
    "DFA",
    "END",
    "LANGUAGES",
    "Alphabet",
    "End",
    "Language",
    "Machine",
    "NextSymbols",
    "Sampler",
    "Word",
    "WordCounter",
    "language",
    "language_from_file",
    "language_from_text",
    "show_word",
    "sort_next_symbols",
]
