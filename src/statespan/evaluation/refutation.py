"""Where a checkpoint errs: the shortest word found on which it is wrong, and why it had to be.

Three searches, from the most exact to the furthest: all prefixes, shorter first, as far as a budget
goes; pumping, where a loop is repeated behind a prefix; and random words of growing length. Where
the language hides a modular counter (`statespan judge` finds it), the loop is that counter: a state
that converges along it cannot count, so that the model is bound to be wrong further on. The step
at which the state stopped changing is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from random import Random
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from statespan.algebra import judge
from statespan.errors import InputError, LengthError, LimitError
from statespan.evaluation.predictor import Predictor
from statespan.languages import Language, NextSymbols
from statespan.languages.machine import State
from statespan.languages.symbols import show_symbols

__all__ = ["Loop", "Refutation", "Search", "refute"]

Symbols: TypeAlias = tuple[str, ...]
Search: TypeAlias = Literal["all prefixes", "pumping", "random words"]

STILL = 1e-6
"""A state that changes by less, beside its largest number, has stopped changing."""
LONGEST_LOOP, PREFIXES, LOOPS = 3, 24, 64
RANDOM_WORDS = 32
FEW = 32
"""Copies up to which the suffix is tried behind each number of them."""


@final
@dataclass(frozen=True, slots=True)
class Loop:
    """A word that is repeated behind a prefix, and what the state did meanwhile.

    Attributes:
        prefix: what is read first.
        word: what is read again and again.
        is_counter: it goes around a hidden modular counter of the language, which `period` copies
            bring back to where they began; else the period is 1.
        wrong_at: how many symbols were read, prefix included, at the first wrong answer; None if
            there was none.
        settled_at: how many were read when the state had stopped changing: from there on, it is
            after each copy what it was a copy before, to a millionth. None if it went on changing.
        is_watched: the state was watched; if not, the model has none of one size, or does not tell.
    """

    prefix: Symbols
    word: Symbols
    is_counter: bool
    period: int
    wrong_at: int | None
    settled_at: int | None
    is_watched: bool


@final
@dataclass(frozen=True, slots=True)
class Refutation:
    """What was found; a model that was not refuted may still err on words that were not read.

    Attributes:
        prefix: the shortest prefix of a word after which the model is wrong; None if none was
            found.
        expected: the symbols that may follow it.
        predicted: those that the model says may follow.
        found_by: the search that met it.
        is_shortest: no shorter prefix is wrong, for all of them were read.
        all_up_to: all prefixes up to this length were read.
        longest: how long the longest word read was.
        counter: what became of the hidden counter, if the language has one.
        loop: the pumped word on which the prefix was found, if it was found so.
    """

    prefix: Symbols | None
    expected: NextSymbols
    predicted: NextSymbols
    found_by: Search | None
    is_shortest: bool
    all_up_to: int
    longest: int
    counter: Loop | None
    loop: Loop | None


def refute(
    predictor: Predictor,
    language: Language,
    *,
    max_length: int = 1_000,
    budget: int = 20_000,
    rng: Random,
) -> Refutation:
    """Search for the shortest word on which a model errs: the set of what may follow is wrong.

    `max_length` is that of the longest word read, `budget` the number of prefixes that are read
    one and all, shorter first.

    Raises:
        InputError: the model knows another alphabet, or a number is out of its range.
    """
    _check(predictor, language, max_length, budget)
    longest = max_length if predictor.longest is None else min(max_length, predictor.longest)
    found, all_up_to = _read_all(predictor, language, longest, budget)
    counter, error = _read_counter(predictor, language, longest)
    by: Search | None = "all prefixes"
    loop: Loop | None = None
    if found is None:
        found, loop, by = error, counter, "pumping"
        for prefix, word in islice(_loops(language), LOOPS):
            other, error = _read_loop(predictor, language, prefix, word, longest)
            if error is not None and (found is None or len(error[0]) < len(found[0])):
                found, loop = error, other
    if found is None:
        found, loop, by = _read_random(predictor, language, longest, rng), None, "random words"
    return Refutation(
        prefix=found[0] if found else None,
        expected=found[1] if found else frozenset(),
        predicted=found[2] if found else frozenset(),
        found_by=by if found else None,
        is_shortest=found is not None and by == "all prefixes",
        all_up_to=all_up_to,
        longest=longest,
        counter=counter,
        loop=loop if found else None,
    )


_Error: TypeAlias = tuple[Symbols, NextSymbols, NextSymbols]


def _check(predictor: Predictor, language: Language, max_length: int, budget: int) -> None:
    if predictor.alphabet != language.alphabet:
        raise InputError(
            f"the checkpoint knows the alphabet {show_symbols(predictor.alphabet)}, and "
            f"{language.name} has {show_symbols(language.alphabet)}: both must have the same "
            "symbols, in the same order."
        )
    for name, value in (("max_length", max_length), ("budget", budget)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}.")
    if language.is_empty:
        raise InputError(f"{language.name} has no words: there is nothing to be wrong about.")


def _first_error(
    predictor: Predictor, language: Language, words: Sequence[Symbols]
) -> _Error | None:
    """Return the shortest prefix of these words after which the model is wrong."""
    best: _Error | None = None
    for word, predicted in zip(words, predictor.predict(words), strict=True):
        expected = [language.next_symbols(()), *language.next_symbol_sets(word)]
        for length, (right, said) in enumerate(zip(expected, predicted, strict=True)):
            if not right or (best is not None and length >= len(best[0])):
                break  # no word begins so, or there is nothing to gain
            if right != said:
                best = (word[:length], right, said)
                break
    return best


def _read_all(
    predictor: Predictor, language: Language, max_length: int, budget: int
) -> tuple[_Error | None, int]:
    """Read all prefixes, shorter first, while a length has no more than the budget has left."""
    level: list[tuple[Symbols, State]] = [((), language.machine.start)]
    length = 0
    while level:
        found = _first_error(predictor, language, [prefix for prefix, _ in level])
        if found is not None or length == max_length:
            return found, length
        budget -= len(level)
        following = [
            ((*prefix, symbol), after)
            for prefix, state in level
            for symbol in language.alphabet
            if (after := language.machine.step(state, symbol)) is not None
        ]
        if len(following) > budget:
            break
        level, length = following, length + 1
    return None, length if level else max_length


def _read_counter(
    predictor: Predictor, language: Language, max_length: int
) -> tuple[Loop | None, _Error | None]:
    """Read along the hidden modular counter of a language, if it has one."""
    try:
        witness = judge(language).witness if language.is_regular else None
    except LimitError:
        witness = None
    if witness is None:
        return None, None
    words = (witness.prefix, witness.word)
    return _read_loop(predictor, language, *words, max_length, witness.period, witness.suffix)


def _read_loop(
    predictor: Predictor,
    language: Language,
    prefix: Symbols,
    word: Symbols,
    max_length: int,
    period: int | None = None,
    suffix: Symbols = (),
) -> tuple[Loop, _Error | None]:
    """Read a pumped word and, behind some numbers of copies, the suffix that tells them apart."""
    pumped = _pumped(prefix, word, max_length)
    most = max(0, max_length - len(prefix) - len(suffix)) // len(word)
    counts = {*range(min(most, FEW) + 1), *(most >> shift for shift in range(16))}
    told = sorted(counts | {count - 1 for count in counts if count}) if suffix else []
    words = [pumped, *(prefix + word * count + suffix for count in told)]
    error = _first_error(predictor, language, words)
    is_counter = period is not None
    states = predictor.states(pumped) if is_counter or error else None
    loop = Loop(
        prefix,
        word,
        is_counter=is_counter,
        period=period or 1,
        wrong_at=None if error is None else len(error[0]),
        settled_at=None if states is None else _settled(states, len(prefix), len(word)),
        is_watched=states is not None,
    )
    return loop, error


def _pumped(prefix: Symbols, word: Symbols, length: int) -> Symbols:
    copies = max(0, length - len(prefix)) // len(word) + 1
    return (prefix + word * copies)[:length]


def _settled(states: Tensor, begin: int, step: int) -> int | None:
    """Return after how many symbols the state is, after each copy, what it was a copy before."""
    after_copies = states[begin::step]
    if len(after_copies) < 2:
        return None
    scale = after_copies.abs().amax().clamp_min(torch.finfo(states.dtype).tiny)
    moves = (after_copies[1:] - after_copies[:-1]).abs().amax(1) > STILL * scale
    last = int(moves.nonzero()[-1]) + 1 if moves.any() else 0
    return begin + last * step if last < len(moves) else None


def _loops(language: Language) -> Iterator[tuple[Symbols, Symbols]]:
    """Yield short words that can be repeated behind short prefixes, the shortest pairs first."""
    machine = language.machine
    candidates = [
        word
        for length in range(1, LONGEST_LOOP + 1)
        for word in product(language.alphabet, repeat=length)
    ]
    for prefix, state in islice(_access_words(language), PREFIXES):
        for word in candidates:
            after: State = state
            for symbol in word * 8:  # as often as that, and it may go on
                after = None if after is None else machine.step(after, symbol)
            if after is not None:
                yield prefix, word


def _access_words(language: Language) -> Iterator[tuple[Symbols, State]]:
    """Yield states of the machine, each with a shortest prefix that leads there."""
    start = language.machine.start
    seen, queue = {start}, deque[tuple[Symbols, State]]([((), start)])
    while queue:
        prefix, state = queue.popleft()
        yield prefix, state
        for symbol in language.alphabet:
            after = language.machine.step(state, symbol)
            if after is not None and after not in seen:
                seen.add(after)
                queue.append(((*prefix, symbol), after))


def _read_random(
    predictor: Predictor, language: Language, max_length: int, rng: Random
) -> _Error | None:
    """Read random words of lengths that double; return the shortest wrong prefix of the first."""
    length = 8
    while length <= max_length:
        bounds = (length // 2, length)
        try:
            words = language.sample(length=bounds, count=RANDOM_WORDS, rng=rng)
        except (LengthError, LimitError):
            words = []
        found = _first_error(predictor, language, [tuple(word) for word in words])
        if found is not None:
            return found
        length = max_length if length < max_length < 2 * length else 2 * length
    return None
