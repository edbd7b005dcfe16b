"""A checkpoint tried on words, through the forward pass of `transformers` itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import TypeAlias, final

import msgspec
import torch
from torch import Tensor
from transformers import PreTrainedModel

from statespan.compiler.forward import MEMORY, best_reading, read_logits
from statespan.compiler.promise import Promise
from statespan.compiler.tokenizer import special_tokens
from statespan.compiler.words import (
    Tokens,
    edge_words,
    every_word,
    interrupted_words,
    live_walk,
    members,
    near_misses,
    power_words,
    random_words,
)
from statespan.errors import InputError
from statespan.languages import Alphabet, Language, NextSymbols, Word, sort_next_symbols
from statespan.languages.symbols import check_word
from statespan.training import PAD, Vocabulary

__all__ = [
    "FirstError",
    "KindCheck",
    "Progress",
    "Verification",
    "next_symbol_sets",
    "prefix_sets",
    "verify",
]

Progress: TypeAlias = Callable[[str, int, int, str], None]
"""Called with (kind of words, tokens done, tokens in all, what was found)."""

AMPLITUDE = 64.0
POSITIONS = 50_000
SHOWN = 1_000
NO_ANSWER = -1
TOKEN_BY_TOKEN = (1, 2**20)


@final
class FirstError(msgspec.Struct, frozen=True, kw_only=True):
    """A place where the model is wrong.

    Attributes:
        tokens: the last 1,000 tokens up to there, spelled.
        position: the number of the token there, 0 for the BOS that begins.
        expected: the symbols that may follow, with END if the word may end.
        said: those whose logit is positive.
    """

    tokens: list[str]
    position: int
    expected: list[str]
    said: list[str]


@final
class KindCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What came out on one kind of words: an error is a position with any wrong answer.

    `reading` says how the words were given to the model: whole, in pieces, or token by token.
    """

    kind: str
    reading: str
    words: int
    positions: int
    errors: int
    first_error: FirstError | None


@final
class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What came out on all of them.

    Attributes:
        model_type: the architecture, as `transformers` calls it.
        dtype: the precision of the weights.
        checks: one for each kind of words.
        max_length: every word (or valid prefix) up to this length was read.
        margin: the smallest distance from 0 of any logit that is on the right side.
        exact: the share of the logits that are 64 or -64, on the right side.
    """

    model_type: str
    dtype: str
    checks: list[KindCheck]
    max_length: int
    margin: float
    exact: float

    @property
    def positions(self) -> int:
        """The number of positions at which all answers were compared."""
        return sum(check.positions for check in self.checks)

    @property
    def errors(self) -> int:
        """The number of positions with a wrong answer."""
        return sum(check.errors for check in self.checks)


def verify(
    model: PreTrainedModel,
    language: Language,
    *,
    rng: Random,
    max_length: int | None = None,
    num_words: int = 64,
    long_length: int = 1_000_000,
    memory: int = MEMORY,
    valid_prefixes_only: bool = False,
    max_count: int | None = None,
    progress: Progress = lambda *_: None,
) -> Verification:
    """Compare the model with the language at every position of words of many kinds.

    After BOS and a prefix, the logit of a symbol, or of EOS, must be positive exactly if it may
    follow; those of BOS and PAD are not looked at. The kinds are every word up to `max_length`
    (None: about 50,000 positions), random words, members, near misses, every edge of the minimal
    automaton, powers, words with BOS, EOS and PAD in between, some of these token by token from a
    cache, and, unless `long_length` is 0, two words that can always go on. `mamba` reads those
    whole if `memory` bytes allow it, else token by token, which is slow (0.6 ms a layer and token);
    its cached pieces of several tokens lose their state. Others read them in pieces. What an
    attention layer that adds nothing remembers is dropped on the way.

    With `valid_prefixes_only` a word ends where no word can follow, and EOS and PAD stand nowhere
    in it; with `max_count` a word ends before a count exceeds it.

    Raises:
        InputError: the model has other tokens than the language.
        LimitError: there are too many words up to `max_length`.
    """
    vocabulary = Vocabulary(language.alphabet)
    if model.config.vocab_size != vocabulary.size:
        raise InputError(
            f"the model has {model.config.vocab_size} tokens, and {language.name} needs "
            f"{vocabulary.size}: BOS, EOS, PAD and {len(language.alphabet)} symbols."
        )
    promise = Promise(language, valid_prefixes_only, max_count)
    trial = _Trial(model, promise, progress)
    every = every_word(promise, max_length, positions=POSITIONS)
    checks = [trial.run("every valid prefix" if valid_prefixes_only else "every word", every)]
    kinds = _short_words(promise, num_words, rng)
    checks += [trial.run(kind, words) for kind, words in kinds.items()]
    checks.append(trial.run("token by token", kinds["interrupted"], reading=TOKEN_BY_TOKEN))
    if long_length:
        words = [live_walk(promise, long_length, rng, restarts=r) for r in (False, True)]
        reading = best_reading(model, max(map(len, words)), memory=memory)
        checks.append(trial.run("long", words, reading=reading))
    return trial.verification(checks, max(map(len, every)) - 1)


def _short_words(promise: Promise, count: int, rng: Random) -> dict[str, list[Tokens]]:
    kinds = {
        "random": random_words(promise, count, rng),
        "members": members(promise, count, rng),
        "near misses": near_misses(promise, count, rng),
        "edges": edge_words(promise, rng),
        "powers": power_words(promise, count, rng),
    }
    mixed = [rng.choice(words) for words in kinds.values() if words for _ in range(count)]
    return {**kinds, "interrupted": interrupted_words(promise, mixed, count, rng)}


def next_symbol_sets(model: PreTrainedModel, alphabet: Alphabet, word: Word) -> list[NextSymbols]:
    """Return what the model says may follow each nonempty prefix of `word`, one set a symbol.

    Raises:
        SymbolError: a symbol is not in the alphabet (named, with its position).
    """
    return prefix_sets(model, alphabet, word)[1:]


def prefix_sets(model: PreTrainedModel, alphabet: Alphabet, word: Word) -> list[NextSymbols]:
    """Return what the model says may follow each prefix of `word`, the empty one first.

    Raises:
        SymbolError: a symbol is not in the alphabet (named, with its position).
    """
    check_word(word, alphabet)
    vocabulary = Vocabulary(alphabet)
    tokens = torch.tensor([vocabulary.encode(word)], device=model.device)
    piece, _ = best_reading(model, tokens.shape[1])
    sets = []
    for logits in read_logits(model, tokens, piece):
        may_follow = logits[0, :, vocabulary.answer_ids] > 0
        sets += [vocabulary.symbols(row) for row in may_follow.tolist()]
    return sets


@final
class _Trial:
    """Runs words through the model, and sums up what it finds."""

    def __init__(self, model: PreTrainedModel, promise: Promise, progress: Progress) -> None:
        self.model = model
        self.promise = promise
        self.progress = progress
        self.vocabulary = Vocabulary(promise.machine.alphabet)
        self.margin = float("inf")
        self.exact = 0
        self.answers = 0

    def run(
        self, kind: str, words: Sequence[Tokens], *, reading: tuple[int | None, int] | None = None
    ) -> KindCheck:
        """Compare at every position of `words`, in pieces of so many tokens, so many at once."""
        piece, at_once = reading or best_reading(self.model, 0)
        answered = [(tokens, self.promise.follow(tokens)) for tokens in words]
        total = sum(len(answers) for _, answers in answered)
        positions, errors = 0, 0
        first: FirstError | None = None
        for batch in _batches(answered, at_once):
            length = max(len(answers) for _, answers in batch)
            tokens = _padded([tokens for tokens, _ in batch], length, PAD, self.model.device)
            expected = _padded([a for _, a in batch], length, NO_ANSWER, self.model.device)
            start = 0
            for logits in read_logits(self.model, tokens, piece):
                stop = start + logits.shape[1]
                wrong = self._compare(logits, expected[:, start:stop])
                if first is None and wrong.any():
                    first = self._error(batch, logits, start, wrong.nonzero()[0].tolist())
                errors += int(wrong.sum())
                positions += int((expected[:, start:stop] != NO_ANSWER).sum())
                start = stop
                self.progress(kind, positions, total, f"{errors:,} errors")
        count = sum(1 for _, answers in answered if answers)
        return KindCheck(
            kind=kind,
            reading=_describe(piece),
            words=count,
            positions=positions,
            errors=errors,
            first_error=first,
        )

    def verification(self, checks: list[KindCheck], max_length: int) -> Verification:
        """Return all that was found."""
        return Verification(
            model_type=str(self.model.config.model_type),
            dtype=str(self.model.dtype).removeprefix("torch."),
            checks=checks,
            max_length=max_length,
            margin=self.margin,
            exact=self.exact / max(1, self.answers),
        )

    def _compare(self, logits: Tensor, answers: Tensor) -> Tensor:
        table = [self.vocabulary.answers(label) for label in self.promise.labels]
        used = answers != NO_ANSWER
        may_follow = torch.tensor(table, device=logits.device)[answers[used]]
        read = logits[used][:, self.vocabulary.answer_ids]
        right = torch.where(may_follow, read, -read)
        correct = right > 0
        self.answers += right.numel()
        self.exact += int((right == AMPLITUDE).sum())
        if correct.any():
            self.margin = min(self.margin, float(right[correct].min()))
        wrong = torch.zeros_like(used)
        wrong[used] = ~correct.all(dim=1)
        return wrong

    def _error(self, batch: _Batch, logits: Tensor, start: int, place: Sequence[int]) -> FirstError:
        row, column = place
        tokens, answers = batch[row]
        position = start + column
        spelled = (*special_tokens(self.vocabulary.alphabet), *self.vocabulary.alphabet)
        positive = (logits[row, column, self.vocabulary.answer_ids] > 0).tolist()
        sets = (self.promise.labels[answers[position]], self.vocabulary.symbols(positive))
        expected, said = (sort_next_symbols(found, self.vocabulary.alphabet) for found in sets)
        read = tokens[max(0, position + 1 - SHOWN) : position + 1]
        return FirstError(
            tokens=[spelled[token] for token in read],
            position=position,
            expected=expected,
            said=said,
        )


def _describe(piece: int | None) -> str:
    some = "token by token" if piece == 1 else f"in pieces of {piece} tokens"
    return "whole" if piece is None else some


_Batch: TypeAlias = list[tuple[Tokens, list[int]]]
"""Words, and the numbers of their answers, which may end earlier."""


def _batches(words: _Batch, size: int) -> Iterator[_Batch]:
    batch: _Batch = []
    for word in sorted(words, key=lambda word: len(word[1])):
        length = len(word[1])
        if batch and (len(batch) + 1) * length > size:
            yield batch
            batch = []
        if length:
            batch.append(word)
    if batch:
        yield batch


def _padded(rows: Sequence[list[int]], length: int, filler: int, device: torch.device) -> Tensor:
    full = [row[:length] + [filler] * (length - len(row)) for row in rows]
    return torch.tensor(full, device=device)
