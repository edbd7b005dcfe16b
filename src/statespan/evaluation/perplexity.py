"""Perplexity by length and by position in the window, over text of any size."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import final

import torch

from statespan.errors import LengthError
from statespan.evaluation.language_model import LanguageModel
from statespan.evaluation.logits import token_losses
from statespan.records import PerplexityRecord, PositionLoss
from statespan.training.text import Pieces, TextSource

__all__ = ["Window", "check_text", "evaluate_perplexity", "windows"]


@final
@dataclass(frozen=True, slots=True)
class Window:
    """Tokens of one document, of which those from position `first` on count."""

    tokens: list[int]
    first: int


def windows(tokens: Iterable[int], length: int, stride: int) -> Iterator[Window]:
    """Yield the whole windows of `length` tokens, `stride` apart.

    Of the first one all tokens count, of the others the last `stride`: no token counts twice, and
    each but those of the first window has at least `length - stride` tokens before it. What is left
    at the end and fills no window does not count.

    >>> [(window.tokens, window.first) for window in windows(range(7), 4, 2)]
    [([0, 1, 2, 3], 0), ([2, 3, 4, 5], 2)]
    """
    kept: list[int] = []
    first = 0
    for token in tokens:
        kept.append(token)
        if len(kept) == length:
            yield Window(kept, first)
            kept, first = kept[stride:], length - stride


@torch.no_grad()
def evaluate_perplexity(
    model: LanguageModel,
    text: TextSource,
    length: int,
    *,
    stride: int | None = None,
    tokens: int | None = None,
    whole: int | None = None,
    bins: int = 16,
    batch_size: int = 1,
    attention: str = "full",
    on_step: Callable[[int], None] = lambda _: None,
) -> PerplexityRecord:
    """Return the summed loss of a model on text, read in windows of `length` tokens.

    The protocol: a document is tokenized without special tokens, in pieces of about 65,536
    characters, and cut into windows (see `windows`), `stride` apart, by default one after the
    other. Before each stand the tokens that the tokenizer itself puts before a text, which are not
    among the `length`; without any, the first token of a window does not count, as nothing is
    before it. Of each document as many tokens are read as fill parts of `whole` tokens, by default
    of `length`: with the same `whole`, several lengths read the same text. At most `tokens` are
    read in all, but at least one part.

    Text is read as it is needed, and logits exist a few positions at a time.

    The positions of a window are split into `bins` equal parts; `batch_size` windows run together;
    the record has `attention` for its name; `on_step` gets the number of windows done.

    Raises:
        LengthError: no document has `whole` tokens, or a stride that is none.
        InputError: text that is not UTF-8, or a token that the model does not know.
    """
    step = stride or length
    if not 0 < step <= length:
        raise LengthError(f"stride must be 1 to the length {length}, got {step}.")
    part = whole or length
    sums = _Sums(length, bins)
    reading = _Reading(model, part, max(part, tokens or sys.maxsize))
    needed = takewhile(lambda _: reading.left >= part, text)
    read = (window for item in needed for window in windows(reading.tokens(item), length, step))
    for rows in _batches(read, batch_size):
        sums.add(model, rows)
        on_step(sums.windows)
    if not sums.windows:
        raise reading.too_short()
    return PerplexityRecord(
        attention=attention,
        length=length,
        stride=step,
        text=text.name,
        documents=reading.documents,
        windows=sums.windows,
        loss_sum=sum(sums.losses),
        tokens=sum(sums.counts),
        positions=[item for item in sums.positions() if item.tokens],
    )


def check_text(model: LanguageModel, text: TextSource, length: int) -> None:
    """Check that some document has `length` tokens: read until one has.

    Raises:
        LengthError: none has.
        InputError: text that is not UTF-8, or a token that the model does not know.
    """
    reading = _Reading(model, length, length)
    if not any(True for document in text for _ in reading.tokens(document)):
        raise reading.too_short()


@final
@dataclass(slots=True)
class _Reading:
    """The tokens of documents, read in parts of `whole` tokens until `left` is used up.

    Attributes:
        documents: how many had such a part.
        short: how many had none, and `longest` the tokens of the longest of all.
    """

    model: LanguageModel
    whole: int
    left: int
    documents: int = 0
    short: int = 0
    longest: int = 0

    def too_short(self) -> LengthError:
        """Return the error that no document has a part."""
        return LengthError(
            f"the text must have a document of {self.whole:,} tokens or more, got {self.short} of "
            f"at most {self.longest:,} tokens: give longer text, or shorter lengths."
        )

    def tokens(self, document: Pieces) -> Iterator[int]:
        """Yield the tokens of one document, as many whole parts as there are."""
        kept: list[int] = []
        length = parts = 0
        for piece in document():
            made = self.model.encode(piece, leading=False)
            length, kept = length + len(made), kept + made
            while len(kept) >= self.whole and self.left >= self.whole:
                self.documents += not parts
                parts, self.left = parts + 1, self.left - self.whole
                yield from kept[: self.whole]
                kept = kept[self.whole :]
            if self.left < self.whole:
                break
        self.short += not parts
        self.longest = max(self.longest, length)


@final
@dataclass(slots=True)
class _Sums:
    """Losses and tokens by position, in the windows of one length."""

    length: int
    bins: int
    windows: int = 0
    losses: list[float] = field(init=False)
    counts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.losses, self.counts = [0.0] * self.length, [0] * self.length

    def add(self, model: LanguageModel, rows: Sequence[Window]) -> None:
        """Run windows that begin to count at the same position."""
        leading = len(model.leading)
        first = rows[0].first if leading else max(1, rows[0].first)
        tokens = torch.tensor([[*model.leading, *row.tokens] for row in rows], device=model.device)
        losses = token_losses(model.model, tokens, first=leading + first).double().sum(0).tolist()
        for position, loss in enumerate(losses, start=first):
            self.losses[position] += loss
            self.counts[position] += len(rows)
        self.windows += len(rows)

    def positions(self) -> Iterator[PositionLoss]:
        """Yield the sums of equal parts of the positions."""
        edges = [self.length * part // self.bins for part in range(self.bins + 1)]
        for begin, end in pairwise(edges):
            yield PositionLoss(
                begin=begin,
                end=end,
                loss_sum=sum(self.losses[begin:end]),
                tokens=sum(self.counts[begin:end]),
            )


def _batches(rows: Iterable[Window], size: int) -> Iterator[list[Window]]:
    """Yield up to `size` windows at once, which begin to count at the same position."""
    batch: list[Window] = []
    for row in rows:
        if batch and (len(batch) == size or batch[0].first != row.first):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
