"""A formal language: its alphabet, its exact oracle, its samplers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Literal, TypeAlias, final

from statespan.errors import (
    EmptyLanguageError,
    InputError,
    LengthError,
    LimitError,
    NotRegularError,
)
from statespan.languages.automaton import DFA, DFAMachine, dfa_from_table, dfa_of_machine
from statespan.languages.counting import MachineCounter, WordCounter
from statespan.languages.expression import dfa_from_expression
from statespan.languages.machine import Machine, shortest_difference
from statespan.languages.negatives import draw_near_miss
from statespan.languages.symbols import Alphabet, NextSymbols, Word, check_word, to_word
from statespan.languages.temporal import dfa_from_temporal

__all__ = ["Language", "Length", "PublishedSampler", "Sampler"]

Length: TypeAlias = int | tuple[int, int]
"""An exact length, or the first and last length of a range (both included)."""

Sampler: TypeAlias = Literal["uniform", "published"]

PublishedSampler: TypeAlias = Callable[[int, int, Random], Word]
"""(shortest, longest, rng) -> one word with a length between, as a paper's generator draws it."""

MAX_TRIES = 100_000
MAX_SEARCH = 200
MAX_LENGTH = 10_000


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Language:
    """A set of words over an ordered alphabet, given by a deterministic machine.

    Make one with `statespan.language` (the catalogue), `from_expression` or `from_dfa`. A word is
    a string where all symbols are single characters, else a sequence of symbols. `catalogue_name`
    is set where the catalogue made it, with no parameter changed.

    Example:
        >>> import random
        >>> evens = Language.from_expression("(aa)*")
        >>> evens.accepts("aaaa"), evens.accepts("aaa")
        (True, False)
        >>> sorted(map(str, evens.next_symbols("aa")))
        ['END', 'a']
        >>> evens.sample(length=(2, 5), count=2, rng=random.Random(0))
        ['aaaa', 'aaaa']
    """

    name: str
    machine: Machine
    counter: WordCounter = field(kw_only=True)
    published: PublishedSampler | None = field(default=None, kw_only=True)
    parameters: Mapping[str, object] = field(default_factory=dict, kw_only=True)
    description: str = field(default="", kw_only=True)
    catalogue_name: str | None = field(default=None, kw_only=True)

    @classmethod
    def from_machine(
        cls,
        name: str,
        machine: Machine,
        *,
        counter: WordCounter | None = None,
        published: PublishedSampler | None = None,
    ) -> Language:
        """Return the language of `machine`; `counter` replaces the general way to count words."""
        return cls(name, machine, counter=counter or MachineCounter(machine), published=published)

    @classmethod
    def from_expression(
        cls,
        expression: str,
        *,
        alphabet: Sequence[str] | None = None,
        name: str | None = None,
        published: PublishedSampler | None = None,
    ) -> Language:
        r"""Return the language of a regular expression.

        Operators, loosest first: `|`, `&`, concatenation, prefix `~` (complement), postfix
        `* + ? {m} {m,} {m,n}`. `.` is any symbol, `<name>` a symbol of several characters, `\`
        makes the next character a symbol. The alphabet is the symbols used, sorted, unless given.

        Raises:
            ExpressionError: the expression does not parse (with the position).
            SymbolError: it uses a symbol outside `alphabet`.

        Example:
            >>> Language.from_expression("~(.*aa.*)", alphabet="ab").count(3)
            5
        """
        machine = DFAMachine(dfa_from_expression(expression, alphabet))
        return cls.from_machine(expression if name is None else name, machine, published=published)

    @classmethod
    def from_temporal(
        cls, formula: str, *, alphabet: Sequence[str] | None = None, name: str | None = None
    ) -> Language:
        """Return the language of a formula of past-time temporal logic.

        `Y` yesterday, `O` once, `H` historically, `S` since, with `! & | ->`, `true`, `false` and
        `first`; a nonempty word is in the language if the formula holds at its last position. See
        `statespan.languages.temporal` for the grammar and the empty word.

        Raises:
            ExpressionError: the formula does not parse (with the position).
            SymbolError: it uses a symbol outside `alphabet`.

        Example:
            >>> Language.from_temporal("b & Y a", alphabet="ab").accepts("aab")
            True
        """
        machine = DFAMachine(dfa_from_temporal(formula, alphabet))
        return cls.from_machine(formula if name is None else name, machine)

    @classmethod
    def from_dfa(
        cls,
        dfa: DFA | Mapping[str, Any],
        *,
        name: str = "dfa",
        published: PublishedSampler | None = None,
    ) -> Language:
        """Return the language of an automaton, or of a table that describes one.

        A table has `alphabet`, `start`, `accepting` and `transitions` (triples state, symbol,
        next state), with one transition for every state and symbol.

        Raises:
            AutomatonError: the table is not a complete deterministic automaton.

        Example:
            >>> table = {"alphabet": ["a"], "start": 0, "accepting": [0],
            ...          "transitions": [[0, "a", 1], [1, "a", 0]]}
            >>> Language.from_dfa(table).accepts("aa")
            True
        """
        automaton = dfa if isinstance(dfa, DFA) else dfa_from_table(dfa)
        return cls.from_machine(name, DFAMachine(automaton), published=published)

    def __repr__(self) -> str:
        return f"Language({self.name!r}, alphabet={self.alphabet!r})"

    @property
    def alphabet(self) -> Alphabet:
        """The symbols, in an order that is the same in every process."""
        return self.machine.alphabet

    @property
    def is_empty(self) -> bool:
        """Whether there is no word at all."""
        return self.machine.start is None

    @property
    def is_regular(self) -> bool:
        """Whether a finite automaton accepts the language."""
        return self.machine.is_finite

    def dfa(self, *, limit: int = 200_000) -> DFA:
        """Return the minimal complete automaton, its states numbered breadth first.

        Raises:
            NotRegularError: there is none.
            LimitError: the search for it met more than `limit` states.
        """
        self._require_regular("a finite automaton")
        return dfa_of_machine(self.machine, limit=limit)

    def accepts(self, word: Word) -> bool:
        """Return whether `word` is in the language. Linear time.

        Raises:
            SymbolError: a symbol is not in the alphabet (named, with its position).
        """
        check_word(word, self.alphabet)
        return self.machine.accepts(word)

    def next_symbols(self, prefix: Word) -> NextSymbols:
        """Return the symbols that can continue `prefix` to a word, with END if it is one.

        Empty when no word starts with `prefix`.

        Raises:
            SymbolError: a symbol is not in the alphabet (named, with its position).
        """
        check_word(prefix, self.alphabet)
        state = self.machine.run(prefix)
        return frozenset() if state is None else self.machine.allowed(state)

    def next_symbol_sets(self, word: Word) -> list[NextSymbols]:
        """Return `next_symbols` of every nonempty prefix of `word`, in linear time.

        The result is as long as `word`: one set after each of its symbols.

        Raises:
            SymbolError: a symbol is not in the alphabet (named, with its position).
        """
        check_word(word, self.alphabet)
        step, allowed = self.machine.step, self.machine.allowed
        state = self.machine.start
        sets: list[NextSymbols] = []
        for symbol in word:
            if state is None or (state := step(state, symbol)) is None:
                sets.extend(itertools.repeat(frozenset(), len(word) - len(sets)))
                break
            sets.append(allowed(state))
        return sets

    def count(self, length: int) -> int:
        """Return the number of words of that length.

        Example:
            >>> Language.from_expression("(a|b)*").count(10)
            1024
        """
        self._check_length(length)
        if length > MAX_LENGTH:
            raise LimitError(f"words are counted up to length {MAX_LENGTH:,}, got {length:,}.")
        return self.counter.count(length)

    def words(self, max_length: int) -> Iterator[Word]:
        """Yield every word up to `max_length`, shorter first, then in alphabet order."""
        counter = self.counter
        if not isinstance(counter, MachineCounter):
            counter = MachineCounter(self.machine)
        for length in range(max_length + 1):
            yield from counter.words(length)

    def sample(
        self, *, length: Length, count: int, rng: Random, sampler: Sampler = "uniform"
    ) -> list[Word]:
        """Return `count` words (repeats are possible) whose lengths are, or lie in, `length`.

        `uniform` draws a length, equally likely among those in the range that have words, then one
        of the words of that length, each as likely. `published` draws as the generator of the
        paper that the language comes from.

        Raises:
            LengthError: no word has such a length.
            EmptyLanguageError: there is no word at all.
            InputError: the language has no published sampler.
        """
        shortest, longest = self._check_draw(length, count)
        if sampler == "uniform":
            return self._sample_uniform(shortest, longest, count, rng)
        if sampler != "published":
            raise InputError(f"sampler must be 'uniform' or 'published', got {sampler!r}.")
        if self.published is None:
            raise InputError(f"{self.name} has no published sampler: use sampler='uniform'.")
        return [self._draw_published(shortest, longest, rng) for _ in range(count)]

    def sample_negatives(
        self, *, length: Length, count: int, rng: Random, distance: int | None = None
    ) -> list[Word]:
        """Return `count` near misses: no words, but 1 or 2 edits away from one.

        An edit puts in, takes out or replaces one symbol. `distance` is the number of edits made
        (so an upper bound of the edit distance to the language); None draws 1 or 2 for each.

        Raises:
            LengthError: no near miss of such a length was found.
        """
        if distance not in {None, 1, 2}:
            raise InputError(f"distance must be 1, 2 or None, got {distance!r}.")
        shortest, longest = self._check_draw(length, count)
        distances = [1, 2] if distance is None else [distance]
        draw = partial(draw_near_miss, self.machine, self.counter)
        return [draw(shortest, longest, distances, rng) for _ in range(count)]

    def counterexample_to_equivalence(self, other: Language) -> Word | None:
        """Return a shortest word that only one of the two languages has; None if they are equal.

        A symbol that one alphabet lacks is in no word of that language.

        Raises:
            NotRegularError: one of the two is not regular.

        Example:
            >>> odd = Language.from_expression("a(aa)*")
            >>> Language.from_expression("(aa)*").counterexample_to_equivalence(odd)
            ''
        """
        return self._difference(other, inclusion=False)

    def counterexample_to_inclusion(self, other: Language) -> Word | None:
        """Return a shortest word of this language that `other` lacks; None if it is included.

        Raises:
            NotRegularError: one of the two is not regular.
        """
        return self._difference(other, inclusion=True)

    def _difference(self, other: Language, *, inclusion: bool) -> Word | None:
        self._require_regular("a comparison")
        other._require_regular("a comparison")
        word = shortest_difference(self.machine, other.machine, inclusion=inclusion)
        return None if word is None else to_word(word, self.alphabet + other.alphabet)

    def _require_regular(self, purpose: str) -> None:
        if not self.is_regular:
            raise NotRegularError(f"{self.name} is not regular, and {purpose} needs that.")

    def _check_length(self, length: int) -> None:
        if isinstance(length, bool) or not isinstance(length, int) or length < 0:
            raise LengthError(f"a length is a whole number of at least 0, got {length!r}.")

    def _check_draw(self, length: Length, count: int) -> tuple[int, int]:
        if not isinstance(count, int):
            raise InputError(f"count must be a whole number, got {count!r}.")
        if count < 0:
            raise InputError(f"count must be at least 0, got {count}.")
        if not isinstance(length, (int, tuple, list)):
            raise LengthError(f"length must be a number or (first, last), got {length!r}.")
        bounds = (length, length) if isinstance(length, int) else tuple(length)
        if len(bounds) != 2:
            raise LengthError(f"length must be a number or (first, last), got {length!r}.")
        for bound in bounds:
            self._check_length(bound)
        if bounds[0] > bounds[1]:
            raise LengthError(f"length must be (first, last) with first ≤ last, got {length!r}.")
        if self.is_empty:
            raise EmptyLanguageError(f"the language {self.name} has no words.")
        return bounds[0], bounds[1]

    def _sample_uniform(self, shortest: int, longest: int, count: int, rng: Random) -> list[Word]:
        if longest > MAX_LENGTH:
            raise LimitError(f"words are counted up to length {MAX_LENGTH:,}, got {longest:,}.")
        lengths = [n for n in range(shortest, longest + 1) if self.counter.count(n)]
        if not lengths:
            raise LengthError(self._no_word(shortest, longest))
        return [self.counter.draw(rng.choice(lengths), rng) for _ in range(count)]

    def _draw_published(self, shortest: int, longest: int, rng: Random) -> Word:
        assert self.published is not None
        for _ in range(MAX_TRIES):
            word = self.published(shortest, longest, rng)
            if shortest <= len(word) <= longest and self.accepts(word):
                return word
        if not any(self.counter.count(n) for n in range(shortest, longest + 1)):
            raise LengthError(self._no_word(shortest, longest))
        raise LengthError(
            f"the published sampler of {self.name} drew no word of length "
            f"{_window(shortest, longest)} in {MAX_TRIES:,} draws: widen the range, or use "
            "sampler='uniform'."
        )

    def _no_word(self, shortest: int, longest: int) -> str:
        hint = f"None within {MAX_SEARCH} of it has one either."
        for distance in range(1, MAX_SEARCH + 1):
            near = [n for n in (shortest - distance, longest + distance) if n >= 0]
            found = next((n for n in near if self.counter.count(n)), None)
            if found is not None:
                hint = f"The nearest length that has one is {found}."
                break
        return f"no word of {self.name} has length {_window(shortest, longest)}. {hint}"


def _window(shortest: int, longest: int) -> str:
    return f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
