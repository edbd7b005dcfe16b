"""Summaries: the vector by which a block is found.

Axes: `head`, the heads of the queries; `kv_head`, those of keys and values; `block`, the blocks of
a document; `token`, the S tokens of a block; `dim`, the width D of queries and keys; `value_dim`,
that of values; `width`, that of a summary.
"""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from statespan.registry import Registry

__all__ = ["SUMMARIES", "Summary"]


@runtime_checkable
class Summary(Protocol):
    """Summarizes blocks; a member of `SUMMARIES`, as an entry point `statespan.summaries` is."""

    @property
    def reads_queries(self) -> bool:
        """Whether a block's summary needs the queries of its tokens."""
        ...

    @property
    def in_value_space(self) -> bool:
        """Whether it is a mean of values, so that these must be as wide as queries."""
        ...

    def summarize(
        self,
        query: Float[Tensor, "batch head block token dim"] | None,
        key: Float[Tensor, "batch kv_head block token dim"],
        value: Float[Tensor, "batch kv_head block token value_dim"],
        *,
        scaling: float,
        num_heads: int,
        seed: int,
        layer: int,
    ) -> Float[Tensor, "batch summary_head block width"]:
        """Return the summary of each block by itself, a head of the queries or of the keys each.

        The numbers come in the dtype that scores are computed in. Queries may be None where the
        summary does not read them.
        """
        ...

    def map_queries(
        self, query: Float[Tensor, "batch head decision dim"]
    ) -> Float[Tensor, "batch head decision width"]:
        """Return what is to be multiplied by a summary to give a score."""
        ...


SUMMARIES: Final[Registry[Summary]] = Registry("summary", "summaries")
