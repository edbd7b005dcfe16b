"""What a recall checkpoint must say where its attention is span-expanded; exact, without tensors.

A token sees its own chunk, what is local, the first blocks, and those that the rule chooses. What
the last are is counted here, block by block: of the summaries `key` and `bound`, the score of a
block for some symbols is as many times one number as those symbols stand before tokens of the
block. Where that leaves open whether a block is seen, as blocks by chance do, or equal scores, and
the answer depends on it, nothing is promised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, final

from statespan.conformance.checkpoint import Answer
from statespan.conformance.recall_answers import followers
from statespan.errors import InputError
from statespan.memory import SpanAttention
from statespan.training import EOS, PAD

__all__ = ["LONGEST", "check_attention", "span_answers"]

LONGEST: Final = 4_096
"""Tokens up to which scores can be counted: further on, the rotations of layer 2 add up."""

Blocks: TypeAlias = frozenset[int]


@final
@dataclass(frozen=True, slots=True)
class Seen:
    """The blocks that are seen for sure, and those of which only `number`, it is open which."""

    sure: Blocks
    level: Blocks = frozenset()
    number: int = 0


def check_attention(attention: SpanAttention) -> None:
    """Check that answers can be told under `attention`.

    Raises:
        InputError: it is not causal, chunks have several sizes, or the token before or BOS may be
            out of sight.
    """
    if not attention.causal:
        raise InputError("attention must be causal: selection='previous', 'running' or 'token'.")
    if len(attention.chunks) != 1:
        raise InputError(f"attention must have one chunk size, got {attention.chunk}.")
    for name, least, why in (("local", 2, "the token before"), ("keep_first", 1, "BOS")):
        if getattr(attention, name) < least:
            raise InputError(
                f"attention must have {name} of at least {least}, so that each token sees {why}; "
                f"got {getattr(attention, name)}."
            )


def span_answers(tokens: Sequence[int], attention: SpanAttention) -> list[Answer | None]:
    """Return what must be said after each token of a document; None is no promise.

    Nothing is promised past `LONGEST` tokens, and where `recall_answers` promises nothing since a
    document has ended.
    """
    promised = sum(1 for _ in followers(tokens[:LONGEST]))
    document = _Document(tokens[:promised], attention)
    answers = [document.answer(place) for place in range(promised)]
    return answers + [None] * (len(tokens) - promised)


class _Document:
    """A document that begins with BOS, cut into chunks and blocks."""

    def __init__(self, tokens: Sequence[int], attention: SpanAttention) -> None:
        self.tokens, self.attention = tokens, attention
        self.chunk, self.block = attention.chunks[0], attention.block
        # Which symbols stand before the tokens of each block.
        self.before = [
            Counter(tokens[max(begin - 1, 0) : begin + self.block - 1])
            for begin in range(0, len(tokens), self.block)
        ]
        self.places: dict[int, list[int]] = {}
        for place, token in enumerate(tokens[:-1]):
            self.places.setdefault(token, []).append(place + 1)
        self._chosen: dict[tuple[int, tuple[int, ...]], Seen] = {}

    def answer(self, place: int) -> Answer | None:
        """Return the answer after the token at a place."""
        token = self.tokens[place]
        seen, near = self.seen(place), self.near(place)
        finds = [p for p in self.places.get(token, ()) if p <= place and token > PAD]
        local = [p for p in finds if p >= near]
        far = {p // self.block for p in finds if p < near}
        blocks = far & (seen.sure | seen.level)
        found = {self.tokens[p] for p in finds if p >= near or p // self.block in blocks}
        if not found:
            return frozenset({EOS})
        is_sure = local or far & seen.sure or len(seen.level - far) < seen.number
        return frozenset(found) if is_sure and len(found) == 1 else None

    def near(self, reader: int) -> int:
        """Return the first place from which on a token sees all up to itself."""
        start = reader // self.chunk * self.chunk
        return min(start, max(reader - self.attention.local + 1, 0))

    def seen(self, reader: int) -> Seen:
        """Return the blocks before a token's chunk that it sees."""
        start = reader // self.chunk * self.chunk
        past = range(start // self.block)
        kept = frozenset(past[: self.attention.keep_first])
        asking = tuple(sorted(self._asking(reader, start)))
        if (start, asking) not in self._chosen:
            chosen = self._choose(past[self.attention.keep_first :], asking)
            self._chosen[start, asking] = replace(chosen, sure=chosen.sure | kept)
        return self._chosen[start, asking]

    def _asking(self, reader: int, start: int) -> Sequence[int]:
        """Return the tokens whose queries choose for a token."""
        if self.attention.selection == "token":
            return [self.tokens[reader]]
        if self.attention.selection == "running":
            return self.tokens[start : reader // self.block * self.block + 1]
        return self.tokens[max(start - self.chunk, 0) : start]

    def _choose(self, candidates: range, asking: Sequence[int]) -> Seen:
        rule, number = self.attention.rule, self.attention.top_k
        everything = frozenset(candidates)
        if rule == "none" or not candidates:
            return Seen(frozenset())
        if rule == "all" or (rule in {"random", "top_k"} and len(candidates) <= number):
            return Seen(everything)
        if rule == "recency":
            return Seen(frozenset(candidates[-number:]))
        if rule == "top_k" and self.attention.summary in {"key", "bound"}:
            return self._largest(candidates, asking)
        # Of a rule from outside it is not known how many blocks it chooses.
        return Seen(frozenset(), everything, number if rule in {"random", "top_k"} else 0)

    def _largest(self, candidates: range, asking: Sequence[int]) -> Seen:
        asked = Counter(token for token in asking if token > PAD)
        scores = {block: self._score(block, asked) for block in candidates}
        number = self.attention.top_k
        last = sorted(scores.values(), reverse=True)[number - 1]
        sure = frozenset(block for block, score in scores.items() if score > last)
        level = frozenset(block for block, score in scores.items() if score == last)
        return Seen(sure, level, number - len(sure))

    def _score(self, block: int, asked: Counter[int]) -> int:
        before = self.before[block]
        once = self.attention.summary == "bound"
        return sum(
            times * (min(before[token], 1) if once else before[token])
            for token, times in asked.items()
        )
