"""Which blocks a state has retrieved, kept for inspection."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from statespan.memory.choices import Choice, list_choices
from statespan.memory.choosing import choose_blocks
from statespan.memory.documents import Document
from statespan.memory.selection import Selector
from statespan.memory.state_choice import Chosen
from statespan.memory.state_rows import Count

__all__ = ["ChoiceRecord"]


class ChoiceRecord:
    """The blocks of each decision of each row so far."""

    def __init__(self, selector: Selector) -> None:
        self._selector = selector
        self._index: dict[tuple[int, int], Tensor] = {}

    def begin(
        self,
        query: Float[Tensor, "batch head token dim"],
        key: Float[Tensor, "batch kv_head token dim"],
        value: Float[Tensor, "batch kv_head token value_dim"],
        count: Count,
        *,
        scaling: float,
    ) -> None:
        """Take note of what a whole pass over the first `count` tokens of each row retrieves."""
        ends = [count] * len(query) if isinstance(count, int) else count.tolist()
        for row, end in enumerate(ends):
            queries, keys, values = (
                tensor[row : row + 1, :, :end] for tensor in (query, key, value)
            )
            index = choose_blocks(queries, keys, values, self._selector, scaling=scaling)
            if index is not None:
                first = self._selector.layout.first_decision
                for decision, blocks in enumerate(index[0].unbind(dim=1), start=first):
                    self._index[row, decision] = blocks

    def add(self, chosen: Chosen) -> None:
        """Take note of decisions; what rows without a further token decide is replaced later."""
        index = chosen.index
        if chosen.there is not None:
            index = index.masked_fill(~chosen.there, -1)
        decisions = chosen.decisions.expand(len(index), -1).tolist()
        for row, numbers in enumerate(decisions):
            for place, decision in enumerate(numbers):
                self._index[row, decision] = index[row, :, place].clone()

    def select(self, rows: Int[Tensor, " chosen"]) -> None:
        """Keep some rows, in the order given."""
        old, self._index = self._index, {}
        for row, source in enumerate(rows.tolist()):
            of_row = {number: index for (owner, number), index in old.items() if owner == source}
            self._index |= {(row, number): index for number, index in of_row.items()}

    def listed(self, places: Sequence[Int[Tensor, " _"]], *, num_heads: int) -> list[Choice]:
        """Return all choices, in the order of rows and decisions.

        Args:
            places: where the tokens of each row stand among those that were given.
            num_heads: the number of heads of the queries.
        """
        found: list[Choice] = []
        for (row, decision), index in sorted(self._index.items(), key=lambda item: item[0]):
            if decision * self._selector.layout.stride < len(places[row]):
                document = Document(row=row, number=0, places=places[row])
                found += list_choices(
                    index[:, None],
                    self._selector.layout,
                    document,
                    num_heads=num_heads,
                    first_decision=decision,
                )
        return found
