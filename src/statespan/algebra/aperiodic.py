"""Star-freeness, decided without the monoid, and the hidden counter when it fails.

A regular language is star-free exactly if its syntactic monoid is aperiodic (Schützenberger
1965, doi:10.1016/S0019-9958(65)90108-7), that is if its minimal automaton is counter-free
(McNaughton and Papert 1971): no word moves a state around a cycle of length above 1. A word that
does so permutes some image set Q·w without fixing it pointwise, and conversely; so it is enough
that all groups of the orbit of image sets are trivial.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from statespan.algebra.images import IMAGE_LIMIT, Walk, image_orbit
from statespan.algebra.transformations import (
    composer,
    cycle_length,
    identity_transformation,
    letter_transformations,
    to_table,
)
from statespan.algebra.words import access_word, distinguishing_word, run_word, spell
from statespan.languages.automaton import DFA, minimize

__all__ = ["CounterWitness", "find_counter", "is_aperiodic"]

SHORTEST_LIMIT = 20_000


@final
@dataclass(frozen=True, slots=True)
class CounterWitness:
    """A hidden modular counter: `word` moves `state` around a cycle of `period` > 1 states.

    `state` is a state of the minimal automaton, `prefix` leads to it and `suffix` is accepted
    from exactly one of `state` and its successor on the cycle: for every n, exactly one of
    prefix · word^(n·period) · suffix and prefix · word^(n·period + 1) · suffix is in the language.
    """

    word: tuple[str, ...]
    state: int
    period: int
    prefix: tuple[str, ...]
    suffix: tuple[str, ...]
    is_shortest: bool

    def pumped(self, n: int) -> tuple[str, ...]:
        """Return prefix · word^n · suffix: its membership depends on n modulo `period`."""
        return self.prefix + self.word * n + self.suffix


def is_aperiodic(dfa: DFA, *, limit: int = IMAGE_LIMIT) -> bool:
    """Return whether the language of `dfa` is star-free. `dfa` need not be minimal.

    Raises:
        LimitError: the minimal automaton has more than `limit` image sets.

    Example:
        >>> from statespan.languages import language
        >>> is_aperiodic(language("d-12").dfa()), is_aperiodic(language("parity").dfa())
        (True, False)
    """
    orbit = image_orbit(minimize(dfa), limit=limit)
    return not any(True for component in orbit.components() for _ in component.twisted_edges())


def find_counter(dfa: DFA, *, limit: int = IMAGE_LIMIT) -> CounterWitness | None:
    """Return a counter of the language of `dfa`, None if it is star-free.

    The word is a shortest one (`is_shortest`) if one is found among the first 20,000 elements of
    the syntactic monoid, taken by length; else it is the word of a walk in the orbit of images.

    Raises:
        LimitError: the minimal automaton has more than `limit` image sets.

    Example:
        >>> from statespan.languages import language
        >>> witness = find_counter(language("parity").dfa())
        >>> witness.word, witness.period
        (('1',), 2)
    """
    dfa = minimize(dfa)
    for component in image_orbit(dfa, limit=limit).components():
        for node, letter, target in component.twisted_edges():
            walks = (component.walk(node, letter), component.walk(target))
            return _shortest_counter(dfa) or _counter_of_walks(dfa, component.states, walks)
    return None


def _shortest_counter(dfa: DFA) -> CounterWitness | None:
    """Search the maps of words by length; give up after `SHORTEST_LIMIT` of them."""
    compose = composer(dfa.num_states)
    tables = [to_table(letter) for letter in letter_transformations(dfa)]
    elements = [identity_transformation(dfa.num_states)]
    came: list[tuple[int, int]] = [(0, 0)]
    seen = set(elements)
    for number, element in enumerate(elements):
        for letter, table in enumerate(tables):
            product = compose(element, table)
            if product in seen:
                continue
            seen.add(product)
            elements.append(product)
            came.append((number, letter))
            for state in range(dfa.num_states):
                if cycle_length(product, state) > 1:
                    return _witness(dfa, _letters(came, len(came) - 1), state, is_shortest=True)
            if len(elements) >= SHORTEST_LIMIT:
                return None
    return None


def _letters(came: list[tuple[int, int]], number: int) -> list[int]:
    letters = []
    while number:
        number, letter = came[number]
        letters.append(letter)
    return letters[::-1]


def _counter_of_walks(dfa: DFA, states: tuple[int, ...], walks: tuple[Walk, ...]) -> CounterWitness:
    twisted = [w for w in walks if any(i != image for i, image in enumerate(w.permutation))]
    walk = min(twisted, key=lambda walk: len(walk.letters))
    moved = next(i for i, image in enumerate(walk.permutation) if i != image)
    return _witness(dfa, list(walk.letters), states[moved], is_shortest=False)


def _witness(dfa: DFA, letters: list[int], state: int, *, is_shortest: bool) -> CounterWitness:
    word = spell(dfa, letters)
    successor = run_word(dfa, word, state)
    period, image = 1, successor
    while image != state:
        image = run_word(dfa, word, image)
        period += 1
    suffix = distinguishing_word(dfa, state, successor)
    return CounterWitness(word, state, period, access_word(dfa, state), suffix, is_shortest)
