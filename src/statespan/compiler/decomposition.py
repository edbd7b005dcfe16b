"""From an automaton to a cascade of components that are written, kept, or flipped.

An automaton whose groups are 2-groups is a cascade of components of this kind, and one without
groups needs no flips (Krohn and Rhodes 1965). Here right congruences come first: what components
can follow level by level; then the holonomy decomposition of what they leave. The first part is
tried at every length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from statespan.compiler.assembly import assemble, labels_of_states
from statespan.compiler.cascade import Cascade
from statespan.compiler.congruences import Refinement, congruence_chain, meet
from statespan.compiler.encoding import Encoding
from statespan.compiler.holonomy import TileChoice, holonomy
from statespan.compiler.realization import Realization, realize
from statespan.compiler.simplification import SIMPLIFICATION_BUDGET, simplify
from statespan.compiler.tiles import Tiling, image_family, tile
from statespan.errors import InputError, LimitError
from statespan.languages.automaton import DFA, minimize

__all__ = ["REACHABLE_LIMIT", "decompose"]

REACHABLE_LIMIT = 50_000
LARGE = 3_000


def decompose(dfa: DFA, *, limit: int = REACHABLE_LIMIT) -> Cascade:
    """Return a cascade that says what may follow after every prefix, as `dfa` does.

    The language of `dfa` is what counts: it is made minimal first. The result is the same in
    every process. It is checked on all values that it can reach.

    Raises:
        InputError: the syntactic monoid holds a group that is no 2-group.
        LimitError: a candidate was too large, and there is no other; the message says what was.

    Example:
        >>> from statespan.languages import language
        >>> cascade = decompose(language("d-2").dfa())
        >>> cascade.num_levels, [component.num_values for component in cascade.components]
        (3, [2, 2, 2])
    """
    minimal = minimize(dfa)
    reduced, classes = _distinct_letters(minimal)
    whole = tile(image_family(reduced, (0,) * reduced.num_states))
    if whole is None:
        raise InputError(
            "the transition monoid holds a group that is no 2-group: components that are written "
            "or flipped cannot count like that."
        )
    flips = any(whole.moved)
    _, answers = labels_of_states(minimal)
    best = _best(reduced, whole, answers, flips=flips, limit=limit)
    best = simplify(best, flips=flips, limit=limit, budget=SIMPLIFICATION_BUDGET)
    return assemble(minimal, best, classes)


def _distinct_letters(dfa: DFA) -> tuple[DFA, list[list[int]]]:
    """Return the automaton with one letter of those that act the same, and those of each class."""
    classes: dict[tuple[int, ...], list[int]] = {}
    for letter, column in enumerate(zip(*dfa.transitions, strict=True)):
        classes.setdefault(column, []).append(letter)
    alphabet = tuple(dfa.alphabet[letters[0]] for letters in classes.values())
    rows = tuple(zip(*classes, strict=True))
    return replace(dfa, alphabet=alphabet, transitions=rows), list(classes.values())


def _best(
    dfa: DFA, whole: Tiling, answers: Sequence[int], *, flips: bool, limit: int
) -> Realization:
    """Return the candidate that costs least.

    Raises:
        LimitError: all candidates are too large.
    """
    best: Realization | None = None
    failure: LimitError | None = None
    for refinements, tiling in _stages(dfa, whole, flips=flips):
        for choose in _CHOICES:
            try:
                encoding = _encode(tiling, refinements, choose, answers, limit=limit)
                found = realize(encoding, flips=flips, limit=limit)
            except LimitError as error:
                failure = error
                break
            assert found is not None, "the theorem of Krohn and Rhodes"
            if best is None or found.cost < best.cost:
                best = found
            if len(encoding.targets) > LARGE:
                break
    if best is None:
        assert failure is not None, "the empty chain of congruences is always a candidate"
        raise failure
    return best


def _first(_: Sequence[int]) -> int:
    return 0


def _last(_: Sequence[int]) -> int:
    return -1


_CHOICES: tuple[TileChoice, ...] = (_first, _last)


def _stages(dfa: DFA, whole: Tiling, *, flips: bool) -> Iterator[tuple[list[Refinement], Tiling]]:
    """Yield components that follow congruences, with the tiling of the blocks that they leave."""
    yield [], whole
    refinements: list[Refinement] = []
    for level in congruence_chain(dfa, flips=flips):
        refinements = [*refinements, *level]
        partition = meet([refinement.partition for refinement in refinements])
        tiling = tile(image_family(dfa, partition))
        if tiling is not None:
            yield refinements, tiling


def _encode(
    tiling: Tiling,
    refinements: Sequence[Refinement],
    choose: TileChoice,
    answers: Sequence[int],
    *,
    limit: int,
) -> Encoding:
    """Return the chains of tiles, with the components that follow congruences before them."""
    chains = holonomy(tiling, choose, limit=limit)
    rows = [
        (*(refinement.values[state] for refinement in refinements), *row)
        for state, row in zip(chains.answers, chains.coordinates, strict=True)
    ]
    return Encoding(chains.targets, [answers[state] for state in chains.answers], rows)
