"""What a recall checkpoint must say, and documents to ask it with; exact, without tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

from statespan.conformance.checkpoint import Answer
from statespan.conformance.protocol import Tokens
from statespan.errors import InputError
from statespan.languages import Alphabet
from statespan.training import BOS, EOS, PAD, Vocabulary

__all__ = [
    "FILLER",
    "KEYS",
    "RECALL_ALPHABET",
    "VALUES",
    "followers",
    "recall_answers",
    "sample_cycle",
    "sample_pairs",
]

KEYS: Final = tuple("abcdefghijklmnopqrstuvwxyz")
VALUES: Final = tuple("0123456789")
FILLER: Final = "."
RECALL_ALPHABET: Final[Alphabet] = (*KEYS, *VALUES, FILLER)


def followers(tokens: Sequence[int]) -> Iterator[dict[int, set[int]]]:
    """Yield, after each token of a document, which tokens have followed each symbol in it.

    It is one mapping that grows. It ends before an EOS or PAD, and before a second BOS; and at
    once where the document does not begin with BOS.
    """
    found: dict[int, set[int]] = {}
    for place, token in enumerate(tokens):
        if token in {EOS, PAD} or (token == BOS) != (place == 0):
            return
        if place > 1:
            found.setdefault(tokens[place - 1], set()).add(token)
        yield found


def recall_answers(tokens: Sequence[int]) -> list[Answer | None]:
    """Return what must be said after each token of a document.

    That is the token that followed earlier occurrences of the one just read; EOS, where it has
    not occurred; None, which is no promise, where different tokens followed it, and where
    `followers` has ended.

    Example:
        >>> recall_answers([0, 3, 29, 3])
        [frozenset({1}), frozenset({1}), frozenset({1}), frozenset({29})]
    """
    answers: list[Answer | None] = []
    for token, found in zip(tokens, followers(tokens), strict=False):
        after = found.get(token, {EOS})
        answers.append(frozenset(after) if len(after) == 1 else None)
    return answers + [None] * (len(tokens) - len(answers))


def sample_cycle(length: int, *, rng: Random) -> Tokens:
    """Return `length` tokens: BOS, then all symbols, in an order by chance, again and again.

    After the first time each symbol tells the next, so a greedy model goes on for ever. They are 37
    symbols, a prime, so that what is cut into equal pieces has other symbols at the edges each
    time; where they do not come twice, half of `length` are enough.

    Raises:
        InputError: the length is none.
    """
    _check_length(length)
    period = min(len(RECALL_ALPHABET), max((length - 1) // 2, 1))
    symbols = rng.sample(RECALL_ALPHABET, period)
    return _tokens([symbols[index % period] for index in range(length - 1)])


def sample_pairs(length: int, *, rng: Random) -> Tokens:
    """Return `length` tokens: BOS, keys with their values, then filler and some pairs again.

    Runs of filler are of any length up to an eighth of the whole, so answers lie at all distances.

    Raises:
        InputError: the length is none.
    """
    _check_length(length)
    keys = rng.sample(KEYS, min(len(KEYS), 1 + length // 4))
    pairs = {key: rng.choice(VALUES) for key in keys}
    word = [symbol for pair in pairs.items() for symbol in pair]
    while len(word) < length:
        word += [FILLER] * rng.randint(0, length // 8)
        asked = rng.sample(keys, rng.randint(1, len(keys)))
        word += [symbol for key in asked for symbol in (key, pairs[key])]
    return _tokens(word[: length - 1])


def _tokens(word: Sequence[str]) -> Tokens:
    return tuple(Vocabulary(RECALL_ALPHABET).encode(word))


def _check_length(length: int) -> None:
    if length < 1:
        raise InputError(f"length must be at least 1, for BOS, got {length}.")
