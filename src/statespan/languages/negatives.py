"""Near misses: sequences that are no words, one or two edits away from one."""

from __future__ import annotations

from random import Random

from statespan.errors import LengthError
from statespan.languages.counting import WordCounter
from statespan.languages.machine import Machine
from statespan.languages.symbols import Alphabet, Word, to_word

__all__ = ["draw_near_miss", "edit"]

MAX_TRIES = 2_000


def edit(word: Word, alphabet: Alphabet, rng: Random) -> list[str]:
    """Return `word` with one symbol put in, taken out or replaced by another one."""
    symbols = list(word)
    kinds = ["insert"]
    if symbols:
        kinds.append("delete")
        if len(alphabet) > 1:
            kinds.append("replace")
    kind = rng.choice(kinds)
    if kind == "insert":
        symbols.insert(rng.randrange(len(symbols) + 1), rng.choice(alphabet))
        return symbols
    position = rng.randrange(len(symbols))
    if kind == "delete":
        del symbols[position]
    else:
        symbols[position] = rng.choice([s for s in alphabet if s != symbols[position]])
    return symbols


def draw_near_miss(
    machine: Machine,
    counter: WordCounter,
    shortest: int,
    longest: int,
    distances: list[int],
    rng: Random,
) -> Word:
    """Return a sequence in the length window that is no word, but a few edits away from one.

    The number of edits is one of `distances`, drawn; another one if that finds nothing.

    Raises:
        LengthError: none was found (the language may have every such sequence, or no word near).
    """
    for edits in rng.sample(distances, len(distances)):
        sources = [
            n for n in range(max(0, shortest - edits), longest + edits + 1) if counter.count(n) > 0
        ]
        for _ in range(MAX_TRIES if sources else 0):
            symbols: Word = counter.draw(rng.choice(sources), rng)
            for _ in range(edits):
                symbols = edit(symbols, machine.alphabet, rng)
            word = to_word(symbols, machine.alphabet)
            if shortest <= len(symbols) <= longest and not machine.accepts(word):
                return word
    listed = " or ".join(map(str, distances))
    raise LengthError(
        f"no near miss with a length from {shortest} to {longest} and {listed} edits was found."
    )
