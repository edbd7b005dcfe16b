"""What attention looked back at."""

from __future__ import annotations

import msgspec

__all__ = ["RetrievalRecord"]


class RetrievalRecord(msgspec.Struct, frozen=True, tag_field="kind", tag="retrieval", kw_only=True):
    """The blocks of the past that some queries of one layer saw beside their own chunk.

    Places count the tokens of a row from 0, padding included. `first` and `last` are those of the
    queries; `keys` holds the first and the last place of each block. `heads` chose together.
    """

    layer: int
    row: int
    heads: list[int]
    document: int
    first: int
    last: int
    keys: list[tuple[int, int]]
