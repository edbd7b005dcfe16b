"""What a recurrent state is, as a table over the values of a memory, found and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch

__all__ = ["Move", "state_table"]

Move: TypeAlias = tuple[int, int, float, float]
"""(a memory's value before, after, what the state is multiplied with, what is added to it)."""


def state_table(moves: Sequence[Move], origin: int) -> dict[int, float] | None:
    """Return the state at each value that is reached from `origin`; None if there is no such.

    Where a move wipes the state, what it adds is the state; all others follow by moves. Every
    move from a value of the table is checked to lead to the table.
    """
    table = {then: added for _, then, factor, added in moves if factor == 0.0}
    table.setdefault(origin, 0.0)
    while True:
        known = [move for move in moves if move[0] in table]
        states = torch.tensor([table[move[0]] for move in known])
        factors = torch.tensor([move[2] for move in known])
        results = (states * factors + torch.tensor([move[3] for move in known])).tolist()
        before_this = len(table)
        for (_, then, _, _), result in zip(known, results, strict=True):
            if table.setdefault(then, result) != result:
                return None
        if len(table) == before_this:
            return table
