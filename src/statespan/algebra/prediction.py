"""How far back a predictor must look: the memory that the sets of next symbols need.

A predictor is asked after prefixes of words only, so only live states (from which a word can be
reached) count. What the last k symbols decide, and what they decide with the position modulo m,
are read off the graph of pairs of states that one word leads to two different states.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import combinations
from typing import TypeAlias

from statespan.algebra.graphs import strong_components
from statespan.errors import LimitError
from statespan.languages.automaton import DFA, DFAMachine
from statespan.languages.symbols import NextSymbols

__all__ = ["has_twin_entries", "last_symbol_decides", "memory_order", "periodic_memory"]

Pair: TypeAlias = tuple[int, int, int]
"""(position modulo m, a state, a larger state)."""

MAX_MODULUS = 64
MAX_PAIRS = 300_000


def memory_order(dfa: DFA, *, modulus: int = 1) -> int | None:
    """Return the least k such that the last k symbols decide what may follow.

    None if no k does. With `modulus` m, the position modulo m is known too. `dfa` must be minimal.
    What is asked before the first symbol does not count: a beginning is always marked.

    Raises:
        LimitError: there are more than 300,000 pairs of states.

    Example:
        >>> from statespan.languages import language
        >>> memory_order(language("tomita-2").dfa()), memory_order(language("tomita-4").dfa())
        (1, 2)
        >>> memory_order(language("aa-star").dfa()) is None
        True
        >>> memory_order(language("aa-star").dfa(), modulus=2)
        0
    """
    machine = DFAMachine(dfa)
    by_phase: dict[int, list[int]] = {}
    for state, phase in sorted(_reachable(machine, modulus)):
        by_phase.setdefault(phase, []).append(state)
    num_pairs = sum(len(states) * (len(states) - 1) // 2 for states in by_phase.values())
    if num_pairs > MAX_PAIRS:
        raise LimitError(
            f"the memory of a prediction is sought among at most {MAX_PAIRS:,} pairs of states, "
            f"and here there are {num_pairs:,}."
        )
    layer: set[Pair] = {
        (phase, p, q) for phase, states in by_phase.items() for p, q in combinations(states, 2)
    }
    order = 0
    while any(machine.allowed(p) != machine.allowed(q) for _, p, q in layer):
        following = {pair for old in layer for pair in _after_one_symbol(machine, old, modulus)}
        if following == layer:
            return None
        layer = following
        order += 1
    return order


def last_symbol_decides(dfa: DFA) -> bool:
    """Return whether the last symbol alone decides what may follow. Linear time.

    Example:
        >>> from statespan.languages import language
        >>> last_symbol_decides(language("tomita-2").dfa())
        True
    """
    machine = DFAMachine(dfa)
    entered: dict[str, NextSymbols] = {}
    for state, _ in _reachable(machine, 1):
        for symbol in machine.alphabet:
            following = machine.step(state, symbol)
            if following is not None:
                allowed = machine.allowed(following)  # type: ignore[arg-type]
                if entered.setdefault(symbol, allowed) != allowed:
                    return False
    return True


def has_twin_entries(dfa: DFA) -> bool:
    """Return whether one letter enters two states of a strong component from inside it.

    Only live states count. Linear time.

    Example:
        >>> from statespan.languages import language
        >>> has_twin_entries(language("d-2").dfa()), has_twin_entries(language("tomita-2").dfa())
        (True, False)
    """
    k = len(dfa.alphabet)
    component = strong_components(
        array("q", [target for row in dfa.transitions for target in row]), k
    )
    live = {state for state, _ in _reachable(DFAMachine(dfa), 1)}
    entered: dict[tuple[int, int], int] = {}
    for state in live:
        for symbol, target in enumerate(dfa.transitions[state]):
            inside = target in live and component[state] == component[target]
            if inside and entered.setdefault((component[state], symbol), target) != target:
                return True
    return False


def periodic_memory(dfa: DFA) -> tuple[int, int] | None:
    """Return the least m, and the least k for it, that decide what may follow.

    The position modulo m and the last k symbols are known. None if no m up to 64 will do.
    """
    for modulus in range(1, MAX_MODULUS + 1):
        order = memory_order(dfa, modulus=modulus)
        if order is not None:
            return modulus, order
    return None


def _reachable(machine: DFAMachine, modulus: int) -> set[tuple[int, int]]:
    """Return the live states, each with every remainder of a position it is reached at."""
    if not isinstance(machine.start, int):
        return set()
    seen = {(machine.start, 0)}
    frontier = list(seen)
    while frontier:
        state, phase = frontier.pop()
        for symbol in machine.alphabet:
            following = machine.step(state, symbol)
            reached = (following, (phase + 1) % modulus)
            if isinstance(following, int) and reached not in seen:
                seen.add((following, reached[1]))
                frontier.append((following, reached[1]))
    return seen


def _after_one_symbol(machine: DFAMachine, pair: Pair, modulus: int) -> Iterator[Pair]:
    phase, p, q = pair
    for symbol in machine.alphabet:
        left, right = machine.step(p, symbol), machine.step(q, symbol)
        if isinstance(left, int) and isinstance(right, int) and left != right:
            yield (phase + 1) % modulus, min(left, right), max(left, right)
