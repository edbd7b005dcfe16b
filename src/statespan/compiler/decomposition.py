"""From an automaton to a cascade of components that are written, kept, or flipped.

An automaton whose groups are 2-groups is a cascade of components of this kind, and one without
groups needs no flips (Krohn and Rhodes 1965). Here right congruences come first: what components
can follow level by level; then the holonomy decomposition of what they leave. The first part is
tried at every length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, final

from statespan.compiler.assembly import assemble, labels_of_states
from statespan.compiler.cascade import Cascade
from statespan.compiler.congruences import Refinement, congruence_chain, meet
from statespan.compiler.encoding import Encoding
from statespan.compiler.holonomy import TileChoice, holonomy
from statespan.compiler.realization import Cost, Realization, realize
from statespan.compiler.simplification import simplify
from statespan.compiler.tiles import Tiling, image_family, tile
from statespan.compiler.work import SEARCH_STEPS, Work
from statespan.errors import InputError, LimitError
from statespan.languages.automaton import DFA, minimize

__all__ = ["REACHABLE_LIMIT", "decompose"]

REACHABLE_LIMIT = 50_000
LARGE = 3_000

_Stage: TypeAlias = tuple[list[Refinement], Tiling]
"""Components that follow congruences, and the tiling of the blocks that they leave."""


def decompose(dfa: DFA, *, limit: int = REACHABLE_LIMIT) -> Cascade:
    """Return a cascade that says what may follow after every prefix, as `dfa` does.

    The language of `dfa` is what counts: it is made minimal first. The result is the same in
    every process. It is checked on all values that it can reach. The search is bounded by a number
    of steps, about a minute; what is best by then is returned.

    Raises:
        InputError: the syntactic monoid holds a group that is no 2-group.
        LimitError: all candidates were too large; the message says what was.

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
    search = _Search(answers, flips, limit, Work(SEARCH_STEPS))
    best = _best(_stages(reduced, whole, flips=flips), search)
    best = simplify(best, flips=flips, limit=limit, work=search.work)
    return assemble(minimal, best, classes)


def _distinct_letters(dfa: DFA) -> tuple[DFA, list[list[int]]]:
    """Return the automaton with one letter of those that act the same, and those of each class."""
    classes: dict[tuple[int, ...], list[int]] = {}
    for letter, column in enumerate(zip(*dfa.transitions, strict=True)):
        classes.setdefault(column, []).append(letter)
    alphabet = tuple(dfa.alphabet[letters[0]] for letters in classes.values())
    rows = tuple(zip(*classes, strict=True))
    return replace(dfa, alphabet=alphabet, transitions=rows), list(classes.values())


@final
@dataclass(eq=False)
class _Search:
    """The candidates tried so far: the best one, and why the last one was too large."""

    answers: Sequence[int]
    flips: bool
    limit: int
    work: Work
    best: Realization | None = None
    rank: tuple[Cost, int] | None = None
    failure: LimitError | None = None

    def encode(self, stage: _Stage, choose: TileChoice) -> Encoding | None:
        """Return the encoding of a candidate; None if it is too large."""
        try:
            return _encode(stage, choose, self.answers, limit=self.limit)
        except LimitError as error:
            self.failure = error
            return None

    def attempt(self, encoding: Encoding, number: int) -> bool:
        """Realize candidate `number`; return whether it was not too large.

        Of those that cost the same, the one of the lowest number counts.
        """
        share = self.work.half()
        bound = None if self.rank is None else (*self.rank[0][:3], self.rank[0][3] + 1)
        try:
            found = realize(encoding, flips=self.flips, limit=self.limit, work=share, bound=bound)
        except LimitError as error:
            self.failure = error
            return False
        finally:
            self.work.left -= share.used
        assert found is not None or bound is not None, "the theorem of Krohn and Rhodes"
        if found is not None and (self.rank is None or (found.cost, number) < self.rank):
            self.best, self.rank = found, (found.cost, number)
        return True


def _best(stages: Iterable[_Stage], search: _Search) -> Realization:
    """Return the candidate that costs least; those of few chains are tried first.

    Raises:
        LimitError: all candidates are too large.
    """
    first, last = _CHOICES
    encoded = [(stage, search.encode(stage, first)) for stage in stages]
    sizes = {n: len(e.targets) for n, (_, e) in enumerate(encoded) if e is not None}
    for number in sorted(sizes, key=lambda n: (sizes[n], n)):
        stage, encoding = encoded[number]
        assert encoding is not None
        if search.attempt(encoding, 2 * number) and sizes[number] <= LARGE:
            other = search.encode(stage, last)
            if other is not None:
                search.attempt(other, 2 * number + 1)
    if search.best is None:
        assert search.failure is not None, "the empty chain of congruences is always a candidate"
        raise LimitError(
            f"no cascade was found: {search.failure} A cascade may be found for a language of "
            "fewer states, or from a temporal formula."
        )
    return search.best


def _first(_: Sequence[int]) -> int:
    return 0


def _last(_: Sequence[int]) -> int:
    return -1


_CHOICES: tuple[TileChoice, ...] = (_first, _last)


def _stages(dfa: DFA, whole: Tiling, *, flips: bool) -> Iterator[_Stage]:
    """Yield stages from the coarsest blocks to the finest."""
    yield [], whole
    refinements: list[Refinement] = []
    for level in congruence_chain(dfa, flips=flips):
        refinements = [*refinements, *level]
        partition = meet([refinement.partition for refinement in refinements])
        tiling = tile(image_family(dfa, partition))
        if tiling is not None:
            yield refinements, tiling


def _encode(stage: _Stage, choose: TileChoice, answers: Sequence[int], *, limit: int) -> Encoding:
    """Return the chains of tiles, with the components that follow congruences before them."""
    refinements, tiling = stage
    chains = holonomy(tiling, choose, limit=limit)
    rows = [
        (*(refinement.values[state] for refinement in refinements), *row)
        for state, row in zip(chains.answers, chains.coordinates, strict=True)
    ]
    return Encoding(chains.targets, [answers[state] for state in chains.answers], rows)
