"""The words that a compiled model is tried on, as token ids.

A word here is a list of token ids that begins with BOS; a later BOS begins another word, and EOS
and PAD are ignored wherever they stand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate, product
from random import Random
from typing import TypeAlias

from statespan.algebra.monoid import TransitionMonoid, transition_monoid
from statespan.compiler.promise import FIRST_SYMBOL, Promise
from statespan.errors import LengthError, LimitError
from statespan.languages.automaton import DFAMachine
from statespan.languages.machine import State
from statespan.training import BOS, Vocabulary

__all__ = [
    "Tokens",
    "edge_words",
    "every_word",
    "interrupted_words",
    "live_walk",
    "members",
    "near_misses",
    "power_words",
    "random_words",
]

Tokens: TypeAlias = list[int]

MONOID_LIMIT = 5_000
FINITE_STATES = 2_000
INFINITE_STATES = 200
EDGE_TOKENS = 200_000
LONGEST = 300
TOKEN_LIMIT = 5_000_000
STICKINESS = (0.0, 0.0, 0.5, 0.9, 0.99, 0.999)
STICKS_FOR = 2_000


def live_walk(promise: Promise, length: int, rng: Random, *, restarts: bool = False) -> Tokens:
    """Return a random walk of `length` tokens along symbols that can follow.

    Where no symbol can, a new word begins. A walk tends to repeat its last symbol, to a degree
    that changes, so that counts become large. Without `restarts` it avoids symbols after which no
    other can follow; with them it does not, and new words and what is ignored come in anywhere.
    """
    tokens, state = [BOS], promise.machine.start
    last, stickiness = BOS, 0.0
    ignored = promise.ignored if restarts else ()
    while len(tokens) < length:
        if len(tokens) % STICKS_FOR == 1:
            stickiness = rng.choice(STICKINESS)
        if ignored and rng.random() < 0.02:
            tokens.append(rng.choice(ignored))
            continue
        moves = promise.moves(state)
        if not restarts:
            moves = [move for move in moves if promise.moves(move[1])] or moves
        if not moves or (restarts and rng.random() < 0.002):
            state, last = promise.machine.start, BOS
            stickiness = rng.choice(STICKINESS)
            tokens.append(rng.choice((BOS, *(() if promise.moves(state) else promise.ignored))))
            continue
        repeated = [move for move in moves if move[0] == last]
        sticks = bool(repeated) and rng.random() < stickiness
        last, state = repeated[0] if sticks else rng.choice(moves)
        tokens.append(last)
    return tokens


def every_word(promise: Promise, max_length: int | None, *, positions: int) -> list[Tokens]:
    """Return words such that every word up to `max_length` is a prefix of one of them.

    With `promise.valid_prefixes_only`, every valid prefix. None is the largest length with at most
    `positions` tokens in all, and at most 300.

    Raises:
        LimitError: the words up to `max_length` have more than 5,000,000 tokens.
    """
    words: list[tuple[Tokens, State]] = [([BOS], promise.machine.start)]
    ended: list[Tokens] = []
    length = 0
    while words and length != max_length:
        branches = [_branches(promise, state) for _, state in words]
        stuck = [w for (w, _), moves in zip(words, branches, strict=True) if not moves]
        size = sum(map(len, [*ended, *stuck])) + sum(map(len, branches)) * (length + 2)
        if max_length is None and (size > positions or length >= LONGEST):
            break
        if size > TOKEN_LIMIT:
            raise LimitError(
                f"the words up to length {length + 1} have more than {TOKEN_LIMIT:,} tokens: "
                f"max_length can be {length} at most."
            )
        ended += stuck
        pairs = zip(words, branches, strict=True)
        words = [([*w, token], after) for (w, _), moves in pairs for token, after in moves]
        length += 1
    return ended + [tokens for tokens, _ in words]


def _branches(promise: Promise, state: State) -> list[tuple[int, State]]:
    if promise.valid_prefixes_only:
        return promise.moves(state)
    return [(token, state) for token in promise.symbol_ids]


def random_words(promise: Promise, count: int, rng: Random) -> list[Tokens]:
    """Return random words over the whole alphabet; random walks if only prefixes are promised."""
    if promise.valid_prefixes_only:
        return [live_walk(promise, rng.randint(2, LONGEST), rng) for _ in range(count)]
    return [_random(promise, rng.randint(1, LONGEST), rng) for _ in range(count)]


def _random(promise: Promise, length: int, rng: Random) -> Tokens:
    return [BOS, *(rng.choice(promise.symbol_ids) for _ in range(length))]


def members(promise: Promise, count: int, rng: Random) -> list[Tokens]:
    """Return words of the language, of up to 100 symbols; none if there is none so short."""
    if promise.language.is_empty:
        return []
    try:
        words = promise.language.sample(length=(0, 100), count=count, rng=rng)
    except LengthError:
        return []
    return [Vocabulary(promise.machine.alphabet).encode(word) for word in words]


def near_misses(promise: Promise, count: int, rng: Random) -> list[Tokens]:
    """Return words outside the language, an edit or two from one in it; none if none was found."""
    if promise.language.is_empty:
        return []
    try:
        words = promise.language.sample_negatives(length=(0, 100), count=count, rng=rng)
    except LengthError:
        return []
    return [Vocabulary(promise.machine.alphabet).encode(word) for word in words]


def edge_words(promise: Promise, rng: Random) -> list[Tokens]:
    """Return words that walk every edge of the minimal automaton, and a little on.

    Of a machine with too many states the 2,000 nearest are taken, 200 if it has infinitely many,
    and of too many edges as many, at random, as make 200,000 tokens.
    """
    words = [
        [*access, symbol, rng.choice(promise.symbol_ids), rng.choice(promise.symbol_ids)]
        for access, state in _access_words(promise)
        for symbol in _edges(promise, state)
    ]
    tokens = accumulate(map(len, rng.sample(words, len(words))))
    return rng.sample(words, sum(1 for total in tokens if total <= EDGE_TOKENS))


def _edges(promise: Promise, state: State) -> Sequence[int]:
    if promise.valid_prefixes_only:
        return [symbol for symbol, _ in promise.moves(state)]
    return promise.symbol_ids


def _access_words(promise: Promise) -> Iterator[tuple[Tokens, State]]:
    limit = FINITE_STATES if promise.machine.is_finite else INFINITE_STATES
    seen = {promise.machine.start}
    queue: deque[tuple[Tokens, State]] = deque([([BOS], promise.machine.start)])
    while queue:
        access, state = queue.popleft()
        yield access, state
        for symbol, after in promise.moves(state):
            if after not in seen and len(seen) < limit:
                seen.add(after)
                queue.append(([*access, symbol], after))


def power_words(promise: Promise, count: int, rng: Random) -> list[Tokens]:
    """Return words u v^n w: v a generator or another element of the transition monoid, or a loop.

    Half of the v are words of idempotents and of other elements (random short words where the
    monoid is large); half are pieces of words that can go on, which return to where they began
    where that is possible.
    """
    pool = _pool(promise, rng)
    words = []
    for number in range(count):
        if number % 2:
            u, v = _loop(promise, rng)
        else:
            u, v = [BOS, *rng.choice(pool)], rng.choice(pool)
        w = rng.choice(pool)
        times = rng.randint(2, max(2, LONGEST // max(1, len(v))))
        block = [*v, *w] if number % 4 == 0 else v
        words.append([*u, *block * max(2, times * len(v) // max(1, len(block))), *w, *v])
    return words


def _pool(promise: Promise, rng: Random) -> list[Tokens]:
    letters = [[symbol] for symbol in promise.symbol_ids]
    monoid = _monoid(promise)
    if monoid is None:
        return letters + [_random(promise, rng.randint(2, 5), rng)[1:] for _ in range(30)]
    idempotents = [x for x in monoid.idempotents if x]
    elements = range(1, len(monoid))
    drawn = rng.sample(idempotents, min(20, len(idempotents)))
    drawn += rng.sample(elements, min(10, len(elements)))
    return letters + [[FIRST_SYMBOL + letter for letter in monoid.letters(x)] for x in drawn]


def _monoid(promise: Promise) -> TransitionMonoid | None:
    if not isinstance(promise.machine, DFAMachine):
        return None
    try:
        return transition_monoid(promise.machine.dfa, limit=MONOID_LIMIT)
    except LimitError:
        return None


def _loop(promise: Promise, rng: Random) -> tuple[Tokens, Tokens]:
    walk = live_walk(promise, rng.randint(3, 60), rng)
    states = [promise.machine.start]
    for token in walk[1:]:
        after = dict(promise.moves(states[-1])).get(token)
        if after is None:
            break
        states.append(after)
    returns = [
        (i, j) for i, j in product(range(len(states)), repeat=2) if i < j and states[i] == states[j]
    ]
    first, last = rng.choice(returns) if returns else (0, len(states) - 1)
    return walk[: first + 1], walk[first + 1 : last + 1]


def interrupted_words(
    promise: Promise, words: Sequence[Tokens], count: int, rng: Random
) -> list[Tokens]:
    """Return pieces of `words`, each from its BOS, in a row, with what is ignored in between."""
    made = []
    for _ in range(count if words else 0):
        tokens: Tokens = []
        while len(tokens) < LONGEST // 2:
            word = rng.choice(words)
            for token in word[: rng.randint(1, len(word))]:
                tokens.append(token)
                while promise.ignored and rng.random() < 0.15:
                    tokens.append(rng.choice(promise.ignored))
        made.append(tokens)
    return made
