"""A stream of rows without end: shuffled by a seed, and taken up again exactly anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import final

import msgspec

from statespan.errors import LengthError
from statespan.training.streams import python_stream
from statespan.training.text.rows import Row
from statespan.training.text.sources import Pieces, TextSource

__all__ = ["StreamPosition", "TextEncoder", "TextStream"]


@final
@dataclass(frozen=True, slots=True)
class TextEncoder:
    """How text becomes tokens.

    Attributes:
        encode: returns the tokens of a text, none of them special.
        leading: what the tokenizer puts before a text; it stands before each row.
        end: the token after the end of a document; none if there is none.
    """

    encode: Callable[[str], list[int]]
    leading: tuple[int, ...] = ()
    end: int | None = None


@final
class StreamPosition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a stream stands: where the rows begin that are shuffled now, and how many were given.

    Attributes:
        epoch: how often all the text was read.
        unit: which unit of this epoch's order is next.
        document: how many documents of it were read.
        piece: how many rows were cut from the document.
        given: how many of the rows that are shuffled together were given.
        mixed: how many rows were given in all, of text or not, where others stand between them.
    """

    epoch: int = 0
    unit: int = 0
    document: int = 0
    piece: int = 0
    given: int = 0
    mixed: int = 0


@final
class TextStream:
    """Rows of `length` tokens out of a source, without end.

    Documents are cut into rows from their beginning on, so that no row goes beyond the end of a
    document; what is shorter than a row (a short document, the rest of a long one) is padded, or,
    with `pack`, put into one row with others, whole. The units of an epoch are shuffled, and then
    `window` rows at a time. All of it depends on the seed and the position alone.

    Attributes:
        source: where the text is from.
        length: the number of tokens of a row, at most.
        position: where it stands; to continue from there, make a stream with it.

    Raises:
        LengthError: a length that has no room for a token to predict.
    """

    def __init__(
        self,
        source: TextSource,
        encoder: TextEncoder,
        length: int,
        *,
        pack: bool = False,
        window: int = 256,
        seed: int = 0,
        position: StreamPosition | None = None,
    ) -> None:
        self.source, self.length, self.position = source, length, position or StreamPosition()
        self._encoder, self._pack, self._window, self._seed = encoder, pack, window, seed
        self._room = length - len(encoder.leading)
        self._shortest = 1 if encoder.leading else 2
        if self._room < self._shortest:
            raise LengthError(
                f"length must have room for {self._shortest} tokens of text after the "
                f"{len(encoder.leading)} that the tokenizer puts before it, got {length}."
            )
        self._rows: list[Row] = []
        self._after = self.position

    def check(self) -> None:
        """Read until a document fills a row.

        Raises:
            LengthError: none does.
            InputError: text that is not UTF-8, or no JSON with a text.
        """
        longest = 0
        for tokens, _ in self._pieces(StreamPosition()):
            longest = max(longest, len(tokens))
            if longest == self._room:
                return
        raise LengthError(
            f"the text must have a document of {self.length:,} tokens or more, got "
            f"{self.source.num_units:,} files or lines in {self.source.name} of at most "
            f"{longest + len(self._encoder.leading):,} tokens: give longer text, or a smaller "
            "length."
        )

    def next_rows(self, count: int) -> list[Row]:
        """Return the next rows.

        Raises:
            LengthError: no document has two tokens.
            InputError: text that is not UTF-8, or no JSON with a text.
            StorageError: it cannot be read.
        """
        return [self._next() for _ in range(count)]

    def _next(self) -> Row:
        given = self.position.given
        if not self._rows:
            self._fill()
        if given == len(self._rows):
            self.position, given = self._after, 0
            self._fill()
        self.position = msgspec.structs.replace(self.position, given=given + 1)
        return self._rows[given]

    def _fill(self) -> None:
        """Read the rows that are shuffled together, from the position on."""
        begin = msgspec.structs.replace(self.position, given=0)
        rows = _Rows(self._encoder.leading, self.length, pack=self._pack)
        after = StreamPosition(epoch=begin.epoch + 1)
        for tokens, place in self._pieces(begin):
            rows.add(tokens)
            if len(rows.made) >= self._window:
                after = place
                break
        self._rows, self._after = rows.finish(), after
        if not self._rows and begin != StreamPosition(epoch=begin.epoch):
            self.position = after  # nothing was left of the epoch
            self._fill()
            return
        if not self._rows:
            raise LengthError(f"no document in {self.source.name} has {self._shortest} tokens.")
        name = f"rows/{begin.epoch}/{begin.unit}/{begin.document}/{begin.piece}"
        python_stream(self._seed, name).shuffle(self._rows)

    def _pieces(self, begin: StreamPosition) -> Iterator[tuple[tuple[int, ...], StreamPosition]]:
        """Yield the tokens of a row's piece, and the position after it, to the end of the epoch."""
        order = list(range(self.source.num_units))
        python_stream(self._seed, f"units/{begin.epoch}").shuffle(order)
        for unit in range(begin.unit, len(order)):
            first = begin.document if unit == begin.unit else 0
            documents = self.source.documents(order[unit])
            for document, pieces in enumerate(islice(documents, first, None), start=first):
                here = (unit, document) == (begin.unit, begin.document)
                skipped = begin.piece if here else 0
                cut = islice(self._cut(pieces), skipped, None)
                for piece, tokens in enumerate(cut, start=skipped + 1):
                    yield (
                        tokens,
                        StreamPosition(
                            epoch=begin.epoch, unit=unit, document=document, piece=piece
                        ),
                    )

    def _cut(self, pieces: Pieces) -> Iterator[tuple[int, ...]]:
        """Yield the tokens of a document, `room` at a time; what has none to predict is left."""
        kept: list[int] = []
        for text in pieces():
            kept += self._encoder.encode(text)
            while len(kept) > self._room:
                yield tuple(kept[: self._room])
                kept = kept[self._room :]
        if kept and self._encoder.end is not None:
            kept.append(self._encoder.end)
        if len(kept) > self._room:
            yield tuple(kept[: self._room])
            kept = kept[self._room :]
        if len(kept) >= self._shortest:
            yield tuple(kept)


@final
class _Rows:
    """Pieces put into rows: one a row, or, packed, short ones together in the order they come."""

    def __init__(self, leading: tuple[int, ...], length: int, *, pack: bool) -> None:
        self.made: list[Row] = []
        self._leading, self._length, self._pack = leading, length, pack
        self._open: list[tuple[int, ...]] = []

    def add(self, tokens: tuple[int, ...]) -> None:
        """Take the next piece."""
        piece = (*self._leading, *tokens)
        if not self._pack or len(piece) == self._length:
            self.made.append(Row((piece,), len(self._leading)))
            return
        if sum(map(len, self._open)) + len(piece) > self._length:
            self._close()
        self._open.append(piece)

    def finish(self) -> list[Row]:
        """Return all rows, the one that was not full among them."""
        self._close()
        return self.made

    def _close(self) -> None:
        if self._open:
            self.made.append(Row(tuple(self._open), len(self._leading)))
            self._open = []
