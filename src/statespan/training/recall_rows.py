"""Rows of text with rows between them that ask for what stood in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Protocol, TypeAlias, final

import msgspec

from statespan.errors import ConfigError, InputError
from statespan.training.documents import DOCUMENTS, DocumentSource, EncodedDocument, Prose
from statespan.training.streams import python_stream
from statespan.training.text import Row, StreamPosition, TextEncoder, TextSource, TextStream

__all__ = ["MixedStream", "RecallConfig", "RowStream", "recall_source"]

Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
Weight: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]

CHARACTERS = 2_000_000
"""Characters of text that words and sentences are drawn from, at most."""
SHORTEST = 0.5
"""The least tokens of a document, as a share of the length of a row."""


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
        default_factory=lambda: {"needle": 3.0, "key-value": 1.0}
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
    for unit in range(text.num_units):
        for pieces in text.documents(unit):
            parts: list[str] = []
            for piece in pieces():
                parts.append(piece[:left])
                left -= len(parts[-1])
                if left <= 0:
                    break
            yield "\n".join(" ".join(part.split()) for part in "".join(parts).split("\n\n"))
            if left <= 0:
                return


@final
class MixedStream:
    """Rows of text, and between them rows that hold one document each which asks for recall.

    Only answers are predicted in these. Which row is of which kind, and what stands in it, depends
    on the seed and the number of the row alone.

    Attributes:
        text: the rows of text, from the same position on.
    """

    def __init__(
        self,
        text: TextStream,
        source: DocumentSource,
        config: RecallConfig,
        *,
        given: int = 0,
        seed: int = 0,
    ) -> None:
        self.text = text
        self._source, self._config, self._seed, self._given = source, config, seed, given

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
        kinds, leading = self._config.kinds, self._source.encoder.leading
        (name,) = rng.choices(list(kinds), list(kinds.values()))
        room = self.length - len(leading)
        wanted = rng.randint(max(1, int(SHORTEST * room)), room)
        document = self._source.draw(name, wanted, rng=rng)
        if document is None:
            raise InputError(
                f"no document of the kind {name} is as short as {wanted} tokens: take a greater "
                "length, or leave the kind out (recall.kinds)."
            )
        return _row(document, leading)


def _row(document: EncodedDocument, leading: tuple[int, ...]) -> Row:
    predicted = [number >= 0 for number in document.answers]
    predicted[0] = False
    before = (False,) * len(leading)
    return Row(((*leading, *document.tokens),), len(leading), predicted=((*before, *predicted),))
