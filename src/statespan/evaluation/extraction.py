"""From weights back to a language: a deterministic automaton learned from what a checkpoint says.

The language of a checkpoint is what it allows, step by step: a word is in it if each symbol was
among those that the model said may follow, and at last the end was. L* (Angluin 1987,
doi:10.1016/0890-5401(87)90052-6; AALpy's) asks the model for the answers after chosen prefixes
until a table of them is an automaton, and a search for disagreements asks further.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from random import Random
from typing import Any, TypeAlias, final

import torch

from statespan.errors import InputError, LimitError, MissingExtraError
from statespan.evaluation.predictor import Predictor
from statespan.languages import DFA, END, Language, NextSymbols, Word
from statespan.languages.automaton import minimize

__all__ = ["Extraction", "extract"]

Symbols: TypeAlias = tuple[str, ...]
Answer: TypeAlias = NextSymbols | None
"""What the model says may follow; None where it did not allow the prefix itself."""

SHORT, WALKS = 2_000, 400
PURITY_WORDS, NEAREST_LENGTH = 64, 60


@final
@dataclass(frozen=True, slots=True)
class Extraction:
    """An automaton that answers as a checkpoint does, on everything that was asked.

    Attributes:
        language: the language that the model allows, as far as the automaton is right.
        queries: how many different words the model was asked.
        is_exact: no disagreement was found between the last automaton and the model; False if the
            search ended at `max_states`.
        tested: how long the words were, at most, that it was compared on.
        counterexample: a shortest word that only one of the two languages has, if one was given
            that is regular, and they differ.
        purity: the share of states of the model, along random words, whose nearest mean of those
            at one state of the automaton is that of their own; None where it does not tell them.
    """

    language: Language
    queries: int
    is_exact: bool
    tested: int
    counterexample: Word | None
    purity: float | None


def extract(
    predictor: Predictor,
    *,
    language: Language | None = None,
    max_states: int = 200,
    max_length: int = 100,
    rng: Random,
) -> Extraction:
    """Learn an automaton from a checkpoint, and compare it with `language`.

    `max_states` ends the search (a model that counts has no automaton), `max_length` is that of
    the longest word on which the automaton is compared with the model.

    Raises:
        InputError: the language has another alphabet, or a number is out of its range.
        MissingExtraError: `aalpy` is not installed.
    """
    _check(predictor, language, max_states, max_length)
    if find_spec("aalpy") is None:
        raise MissingExtraError("aalpy", extra="extraction")
    learning = import_module("aalpy.learning_algs")
    longest = max_length if predictor.longest is None else min(max_length, predictor.longest)
    teacher = _Teacher(predictor)
    oracle = _Disagreements(teacher, longest, max_states, rng)
    learned = learning.run_Lstar(
        list(predictor.alphabet),
        teacher,
        oracle,
        "moore",
        cache_and_non_det_check=False,  # the teacher remembers, and has one answer
        print_level=0,
    )
    dfa = _automaton(learned, predictor.alphabet)
    found = Language.from_dfa(dfa, name="extracted")
    differs = None
    if language is not None and language.is_regular:
        differs = found.counterexample_to_equivalence(language)
    return Extraction(
        language=found,
        queries=len(teacher.answers),
        is_exact=not oracle.gave_up,
        tested=longest,
        counterexample=differs,
        purity=_purity(predictor, found, longest, rng),
    )


def _check(
    predictor: Predictor, language: Language | None, max_states: int, max_length: int
) -> None:
    if language is not None and language.alphabet != predictor.alphabet:
        raise InputError(
            f"the language must have the symbols of the checkpoint, {predictor.alphabet}, in that "
            f"order; got {language.alphabet}."
        )
    for name, value in (("max_states", max_states), ("max_length", max_length)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}.")


@final
class _Teacher:
    """A checkpoint that answers, and remembers what it was asked; AALpy's system under learning."""

    num_queries = num_steps = num_cached_queries = 0  # which AALpy asks for

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.answers: dict[Symbols, Answer] = {}

    def ask(self, words: Sequence[Symbols]) -> None:
        """Have the answers after all prefixes of these words."""
        new = [word for word in dict.fromkeys(words) if word not in self.answers]
        for word, sets in zip(new, self.predictor.predict(new), strict=True):
            is_allowed = True
            for length, said in enumerate(sets):
                self.answers[word[:length]] = said if is_allowed else None
                is_allowed = is_allowed and length < len(word) and word[length] in said

    def query(self, word: Sequence[str]) -> list[Answer]:
        """Return the answer after each nonempty prefix; of the empty word, the one after it."""
        asked = tuple(word)
        self.ask([asked])
        return [
            self.answers[asked[:length]] for length in range(min(1, len(asked)), len(asked) + 1)
        ]


@final
class _Disagreements:
    """The search for a word on which a hypothesis and the model differ: short, repeated, walks.

    It is AALpy's equivalence oracle.
    """

    num_queries = num_steps = 0  # which AALpy asks for

    def __init__(self, teacher: _Teacher, longest: int, max_states: int, rng: Random) -> None:
        self.teacher, self.longest, self.max_states, self.rng = teacher, longest, max_states, rng
        self.gave_up = False

    def find_cex(self, hypothesis: Any) -> Symbols | None:
        """Return a shortest word among those tried on which the two differ."""
        if len(hypothesis.states) > self.max_states:
            self.gave_up = True
            return None
        alphabet = self.teacher.predictor.alphabet
        short: list[Symbols] = [()]
        length = 1
        while len(short) + len(alphabet) ** length <= SHORT and length <= self.longest:
            short += product(alphabet, repeat=length)
            length += 1
        return (
            self._compare(hypothesis, short)
            or self._compare(hypothesis, self._repetitions())
            or self._compare(hypothesis, self._walks(hypothesis))
        )

    def _repetitions(self) -> list[Symbols]:
        """Return short words repeated, then others as often: what is counted goes far, and back."""
        words: list[Symbols] = []
        alphabet, length = self.teacher.predictor.alphabet, 1
        while len(words) + len(alphabet) ** (2 * length) <= WALKS and 2 * length <= self.longest:
            times = self.longest // (2 * length)
            parts = list(product(alphabet, repeat=length))
            words += [there * times + back * times for there in parts for back in parts]
            length += 1
        return words

    def _walks(self, hypothesis: Any) -> list[Symbols]:
        """Return random words that mostly do what the hypothesis allows, of all lengths."""
        rng, alphabet = self.rng, self.teacher.predictor.alphabet
        words = []
        for _ in range(WALKS):
            state, word = hypothesis.initial_state, []
            for _ in range(rng.randint(1, self.longest)):
                allowed = [s for s in alphabet if state.output and s in state.output]
                symbol = rng.choice(allowed if allowed and rng.random() < 0.98 else alphabet)
                word.append(symbol)
                state = state.transitions[symbol]
            words.append(tuple(word))
        return words

    def _compare(self, hypothesis: Any, words: Sequence[Symbols]) -> Symbols | None:
        self.teacher.ask(words)
        best: Symbols | None = None
        for word in words:
            state = hypothesis.initial_state
            for length in range(len(word) + 1):
                if best is not None and length >= len(best):
                    break
                if length:
                    state = state.transitions[word[length - 1]]
                if state.output != self.teacher.answers[word[:length]]:
                    best = word[:length]
        return best


def _automaton(learned: Any, alphabet: Symbols) -> DFA:
    """Return a Moore machine of answers as an automaton: it accepts where the end may follow."""
    number = {id(state): index for index, state in enumerate(learned.states)}
    rows = tuple(
        tuple(number[id(state.transitions[symbol])] for symbol in alphabet)
        for state in learned.states
    )
    ends = frozenset(
        index for index, state in enumerate(learned.states) if state.output and END in state.output
    )
    return minimize(DFA(alphabet, number[id(learned.initial_state)], ends, rows))


@torch.no_grad()
def _purity(predictor: Predictor, found: Language, longest: int, rng: Random) -> float | None:
    """Return how well the states of the model lie apart by the states of the automaton."""
    length = min(longest, NEAREST_LENGTH)
    try:
        words = found.sample(length=(0, length), count=PURITY_WORDS, rng=rng)
    except (InputError, LimitError):
        return None
    rows, owners = [], []
    for word in words:
        states = predictor.states(word)
        if states is None:
            return None
        state = found.machine.start
        rows.append(states)
        owners.append(state)
        for symbol in word:
            state = None if state is None else found.machine.step(state, symbol)
            owners.append(state)
    points = torch.cat(rows)
    numbers = {state: index for index, state in enumerate(dict.fromkeys(owners))}
    labels = torch.tensor([numbers[state] for state in owners])
    means = torch.stack([points[labels == index].mean(0) for index in range(len(numbers))])
    nearest = torch.cdist(points, means).argmin(1)
    return float((nearest == labels).float().mean())
