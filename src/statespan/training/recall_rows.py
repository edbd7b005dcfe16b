"""Rows of text with rows between them that ask for what stood in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Annotated, Protocol, TypeAlias, final

import msgspec

from statespan.errors import ConfigError, InputError
from statespan.training.documents import DOCUMENTS, DocumentSource, EncodedDocument, Prose
from statespan.training.documents.prose import paragraphs
from statespan.training.streams import python_stream
from statespan.training.text import Row, StreamPosition, TextEncoder, TextSource, TextStream

__all__ = ["MixedStream", "RecallConfig", "RowStream", "recall_source"]

Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
Weight: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]

CHARACTERS = 2_000_000
"""Characters of text that words and sentences are drawn from, at most."""
SHORTEST = 0.125
"""The least tokens that a document is to have, as a share of the length of a row."""


class RowStream(Protocol):
    """Rows without end, that can be taken up again anywhere."""

    @property
    def length(self) -> int:
        """The number of tokens of a row, at most."""

    @property
    def position(self) -> StreamPosition:
        """Where it stands."""

    def next_rows(self, count: int) -> list[Row]:
        """Return the next rows."""


class RecallConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which rows are no text, but ask for recall.

    Attributes:
        share: how many of all rows, from 0 to 1.
        kinds: how many of these rows are of each kind of document, relative to one another.
    """

    share: Share = 0.0
    kinds: dict[str, Weight] = msgspec.field(
        default_factory=lambda: {"needle": 4.0, "key-value": 1.0}
    )

    def __post_init__(self) -> None:
        for name in self.kinds:
            DOCUMENTS.get(name)
        if self.share and not sum(self.kinds.values()):
            raise ConfigError(
                "recall.kinds needs a kind of document whose weight is above 0 where recall.share "
                f"is, got {self.kinds}."
            )


def recall_source(text: TextSource, encoder: TextEncoder) -> DocumentSource:
    """Return what makes documents of the words and sentences of a text, of its first part if long.

    Raises:
        InputError: the text is too short, or has too few words.
    """
    return DocumentSource(Prose(list(_novels(text))), encoder)


def _novels(text: TextSource) -> Iterator[str]:
    """Yield documents of a text, one line a paragraph, up to so many characters in all."""
    left = CHARACTERS
    for pieces in text:
        parts: list[str] = []
        for piece in pieces():
            parts.append(piece[:left])
            left -= len(parts[-1])
            if left <= 0:
                break
        yield "\n".join(paragraphs("".join(parts)))
        if left <= 0:
            return


@final
class MixedStream:
    """Rows of text, and between them rows of documents that ask for recall.

    Only answers are predicted in these. A document is between an eighth of a row and a row long,
    each doubling as likely as any other; with `pack`, further ones follow it until the row is full.
    Which row is of which kind, and what stands in it, depends on the seed and its number alone.

    Attributes:
        text: the rows of text, from the same position on.
    """

    def __init__(
        self,
        text: TextStream,
        source: DocumentSource,
        config: RecallConfig,
        *,
        pack: bool = False,
        given: int = 0,
        seed: int = 0,
    ) -> None:
        self.text = text
        self._source, self._config, self._pack = source, config, pack
        self._seed, self._given = seed, given

    @property
    def length(self) -> int:
        """The number of tokens of a row, at most."""
        return self.text.length

    @property
    def position(self) -> StreamPosition:
        """Where it stands."""
        return msgspec.structs.replace(self.text.position, mixed=self._given)

    def next_rows(self, count: int) -> list[Row]:
        """Return the next rows.

        Raises:
            as `TextStream.next_rows` does.
        """
        return [self._next() for _ in range(count)]

    def _next(self) -> Row:
        rng = python_stream(self._seed, f"recall/{self._given}")
        self._given += 1
        if rng.random() >= self._config.share:
            return self.text.next_rows(1)[0]
        documents = [self._draw(self.length, rng)]
        while self._pack and documents[-1] is not None:
            left = self.length - sum(map(self._size, filter(None, documents)))
            documents.append(self._draw(left, rng))
        found = [document for document in documents if document is not None]
        if not found:
            raise InputError(
                f"no document that asks for recall is as short as {self.length} tokens: take a "
                "greater length, or other kinds (recall.kinds)."
            )
        return _row(found, self._source.encoder.leading)

    def _size(self, document: EncodedDocument) -> int:
        return len(self._source.encoder.leading) + len(document.tokens)

    def _draw(self, space: int, rng: Random) -> EncodedDocument | None:
        """Return a document for a space in a row, None if there is none so short."""
        kinds, source = self._config.kinds, self._source
        (name,) = rng.choices(list(kinds), list(kinds.values()))
        room = space - len(source.encoder.leading)
        if room < source.shortest[name]:
            return None
        wanted = min(room, int(self.length * SHORTEST ** rng.random()))
        return source.draw(name, wanted, rng=rng) or source.draw(name, room, rng=rng)


def _row(documents: Sequence[EncodedDocument], leading: tuple[int, ...]) -> Row:
    pieces = tuple((*leading, *document.tokens) for document in documents)
    predicted = tuple(
        (*(False,) * len(leading), False, *(number >= 0 for number in document.answers[1:]))
        for document in documents
    )
    return Row(pieces, len(leading), predicted=predicted)
