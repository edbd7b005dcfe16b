"""From an automaton to a cascade of components that are written, kept, flipped, or swapped.

An automaton whose groups are 2-groups is a cascade of components that are written or flipped, and
one without groups needs no flips (Krohn and Rhodes 1965). Where other groups are made of swaps, as
S_3 and S_5 are, components have values of which a symbol swaps two. Here right congruences come
first: what components can follow level by level; then the holonomy decomposition of what they
leave. The first part is tried at every length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, final

from statespan.compiler.actions import Moves
from statespan.compiler.assembly import assemble, labels_of_states
from statespan.compiler.cascade import Cascade
from statespan.compiler.congruences import Partition, Refinement, congruence_chain, meet
from statespan.compiler.encoding import Encoding
from statespan.compiler.holonomy import TileChoice, holonomy
from statespan.compiler.parity_covers import parity_covers
from statespan.compiler.realization import Cost, Realization, realize
from statespan.compiler.simplification import simplify
from statespan.compiler.tiles import FAMILY_LIMIT, Tiling, image_family, tile
from statespan.compiler.work import SEARCH_STEPS, Work
from statespan.errors import InputError, LimitError
from statespan.languages.automaton import DFA, minimize

__all__ = ["REACHABLE_LIMIT", "decompose"]

REACHABLE_LIMIT = 50_000
LARGE = 3_000

SWAPPED_IMAGES = 5_000
"""The most image sets that are looked at where tiles need labels that swap."""

NO_SWAPS = (
    "the transition monoid holds a group that is no 2-group, and was not found to be made of "
    "components of at most five values of which a symbol swaps two, as transpositions of S_3, S_4 "
    "and S_5 do. A component whose values a symbol moves in another way is missing."
)

_Stage: TypeAlias = tuple[list[Refinement], Tiling]
"""Components that follow congruences, and the tiling of the blocks that they leave."""


def decompose(dfa: DFA, *, swaps: bool = False, limit: int = REACHABLE_LIMIT) -> Cascade:
    """Return a cascade that says what may follow after every prefix, as `dfa` does.

    The language of `dfa` is what counts: it is made minimal first. The result is the same in
    every process. It is checked on all values that it can reach. The search is bounded by a number
    of steps, about a minute; what is best by then is returned. With `swaps`, symbols may swap two
    values of a component where flips do not do.

    Raises:
        InputError: the syntactic monoid holds a group that is no 2-group; with `swaps`, one that
            was not found to be made of components whose values are swapped.
        LimitError: all candidates were too large; the message says what was.

    Example:
        >>> from statespan.languages import language
        >>> cascade = decompose(language("d-2").dfa())
        >>> cascade.num_levels, [component.num_values for component in cascade.components]
        (3, [2, 2, 2])
    """
    minimal = minimize(dfa)
    reduced, classes = _distinct_letters(minimal)
    whole = _tiling_with_flips(reduced, swaps=swaps)
    moves: Moves = "swaps" if whole is None else "flips" if any(whole.moved) else "none"
    _, answers = labels_of_states(minimal)
    search = _Search(answers, moves, limit, Work(SEARCH_STEPS))
    stages = list(_stages(reduced, whole, search))
    covers = parity_covers(reduced) if moves == "swaps" else iter(())
    while not stages and search.failure is None:
        cover, origin = next(covers, (None, []))
        if cover is None:
            raise InputError(NO_SWAPS)
        search = _Search([answers[state] for state in origin], moves, limit, search.work)
        stages = list(_stages(cover, None, search))
    best = _best(stages, search)
    best = simplify(best, moves=moves, limit=limit, work=search.work)
    return assemble(minimal, best, classes)


def _tiling_with_flips(dfa: DFA, *, swaps: bool) -> Tiling | None:
    """Return the tiling of all states; with `swaps`, None where it takes more than flips.

    Raises:
        InputError: flips do not do.
        LimitError: there are too many images.
    """
    try:
        whole = tile(image_family(dfa, (0,) * dfa.num_states))
    except LimitError:
        if swaps:
            return None
        raise
    if whole is None and not swaps:
        raise InputError(
            "the transition monoid holds a group that is no 2-group: components that are written "
            "or flipped cannot count like that."
        )
    return whole


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
    moves: Moves
    limit: int
    work: Work
    best: Realization | None = None
    rank: tuple[Cost, int] | None = None
    failure: LimitError | None = None

    def tile(self, dfa: DFA, partition: Partition) -> Tiling | None:
        """Return the tiling of the blocks of `partition`; None if there is none to be used."""
        swaps = self.moves == "swaps"
        try:
            family = image_family(dfa, partition, limit=SWAPPED_IMAGES if swaps else FAMILY_LIMIT)
            return tile(family, swaps=swaps)
        except LimitError as error:
            self.failure = error
            return None

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
            found = realize(encoding, moves=self.moves, limit=self.limit, work=share, bound=bound)
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
        assert search.failure is not None, "every candidate is found or too large"
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


def _stages(dfa: DFA, whole: Tiling | None, search: _Search) -> Iterator[_Stage]:
    """Yield stages from the coarsest blocks to the finest; `whole` is a tiling of all states."""
    whole = whole or search.tile(dfa, (0,) * dfa.num_states)
    refinements: list[Refinement] = []
    if whole is not None:
        yield refinements, whole
    elif all(len(set(column)) == dfa.num_states for column in zip(*dfa.transitions, strict=True)):
        return  # The tiles of a group are its cosets, which are all the congruences that there are.
    for level in congruence_chain(dfa, moves=search.moves):
        refinements = [*refinements, *level]
        tiling = search.tile(dfa, meet([refinement.partition for refinement in refinements]))
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
