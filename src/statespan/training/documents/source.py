"""Documents of a wanted number of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import final

from statespan.training.documents.document import DOCUMENTS, Document, DocumentKind
from statespan.training.documents.prose import Prose
from statespan.training.text.stream import TextEncoder

__all__ = ["DocumentSource", "EncodedDocument"]

CHARACTERS_A_TOKEN = 8
"""More than a token of prose has on average, so that a passage of that size is long enough."""
LARGE, DRAWS = 12, 12
"""A dozen documents of size 1, and of this size, tell how long those of a kind are."""


@final
@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """A document as token ids; `answers[i]` numbers the answer that token i is of, -1 for none.

    Prose is one answer from the beginning to the end.
    """

    tokens: list[int]
    answers: list[int]


@final
class DocumentSource:
    """Draws documents of a wanted number of tokens.

    Attributes:
        prose: the novels that passages, sentences and words are from.
        encoder: what makes tokens of them; it ends each document, and puts nothing before one.
        shortest: the fewest tokens that some documents of size 1 had, by kind.
    """

    def __init__(self, prose: Prose, encoder: TextEncoder) -> None:
        self.prose = prose
        self.encoder = encoder
        self.shortest: dict[str, int] = {}
        self._slopes: dict[str, float] = {}
        for name in DOCUMENTS.names():
            small, large = (self._sizes(DOCUMENTS.get(name), size) for size in (1, LARGE))
            self.shortest[name] = min(small)
            self._slopes[name] = max(1.0, (sum(large) - sum(small)) / DRAWS / (LARGE - 1))

    def draw_prose(self, length: int, *, rng: Random) -> EncodedDocument:
        """Return a passage of `length` tokens, cut off where they end."""
        tokens: list[int] = []
        while len(tokens) < length:
            text = self.prose.passage(length * CHARACTERS_A_TOKEN, rng=rng)
            tokens = self.encoder.encode(text)
        return EncodedDocument(tokens[:length], [0] * length)

    def draw(self, name: str, length: int, *, rng: Random) -> EncodedDocument | None:
        """Return a whole document of a kind, of about `length` tokens and no more.

        None if a dozen documents, the last ones of size 1, were all longer.
        """
        kind = DOCUMENTS.get(name)
        size = 1 + max(0, int((length - self.shortest[name]) / self._slopes[name]))
        for _ in range(DRAWS):
            document = self._encode(kind(size, self.prose, rng=rng))
            if len(document.tokens) <= length:
                return document
            size = max(1, min(size - 1, int(size * length / len(document.tokens))))
        return None

    def _encode(self, document: Document) -> EncodedDocument:
        tokens: list[int] = []
        answers: list[int] = []
        number = 0
        for piece in document:
            ids = self.encoder.encode(piece.text)
            tokens += ids
            answers += [number if piece.is_answer else -1] * len(ids)
            number += piece.is_answer
        if self.encoder.end is not None:
            tokens.append(self.encoder.end)
            answers.append(-1)
        return EncodedDocument(tokens, answers)

    def _sizes(self, kind: DocumentKind, size: int) -> list[int]:
        """Return the numbers of tokens of some documents of a size."""
        rng = Random(size)
        return [len(self._encode(kind(size, self.prose, rng=rng)).tokens) for _ in range(DRAWS)]
