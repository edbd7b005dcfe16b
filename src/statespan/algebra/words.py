"""Words that steer a minimal automaton: to a state, between tuples of states, apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from statespan.algebra.graphs import shortest_path
from statespan.languages.automaton import DFA

__all__ = ["access_word", "distinguishing_word", "run_word", "spell", "steering_word"]


def spell(dfa: DFA, letters: Sequence[int]) -> tuple[str, ...]:
    """Return the word of these symbol numbers."""
    return tuple(dfa.alphabet[letter] for letter in letters)


def run_word(dfa: DFA, word: Sequence[str], state: int | None = None) -> int:
    """Return the state after `word`, from `state` or else from the start."""
    ids = {symbol: letter for letter, symbol in enumerate(dfa.alphabet)}
    state = dfa.start if state is None else state
    for symbol in word:
        state = dfa.transitions[state][ids[symbol]]
    return state


def access_word(dfa: DFA, state: int) -> tuple[str, ...]:
    """Return a shortest word that leads from the start to `state`, which must be reachable."""
    path = shortest_path(dfa.start, state.__eq__, dfa.transitions.__getitem__)
    assert path is not None
    return spell(dfa, path)


def distinguishing_word(dfa: DFA, first: int, second: int) -> tuple[str, ...]:
    """Return a shortest word accepted from exactly one of two states, which must differ so."""
    rows, accepting = dfa.transitions, dfa.accepting

    def step(pair: tuple[int, int]) -> Iterator[tuple[int, int]]:
        return zip(rows[pair[0]], rows[pair[1]], strict=True)

    path = shortest_path(
        (first, second), lambda pair: (pair[0] in accepting) != (pair[1] in accepting), step
    )
    assert path is not None
    return spell(dfa, path)


def steering_word(
    dfa: DFA, sources: tuple[int, ...], targets: tuple[int, ...], *, nonempty: bool = False
) -> tuple[str, ...] | None:
    """Return a shortest word that leads each source to its target at once, None if none does."""
    rows = dfa.transitions

    def step(states: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        return zip(*[rows[state] for state in states], strict=True)

    path = shortest_path(sources, targets.__eq__, step, nonempty=nonempty)
    return None if path is None else spell(dfa, path)
