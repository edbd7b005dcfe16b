"""Documents and padding: the tokens of each document, side by side.

An attention over documents is one over each document as if it stood alone, with its first real
token at position 0. Documents of one length are rows of one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Document", "attend_by_document", "is_one_document", "list_documents", "zero_of"]

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a batch.

    Attributes:
        number: what `documents` says of its tokens.
        places: where in the row its tokens stand.
    """

    row: int
    number: int
    places: Int[Tensor, " token"]

    def __len__(self) -> int:
        return len(self.places)


def is_one_document(documents: Int[Tensor, "batch length"] | None) -> bool:
    """Return whether each row is one document without padding; None says that it is."""
    if documents is None or documents.numel() == 0:
        return True
    return bool(((documents >= 0) & (documents == documents[:, :1])).all())


def list_documents(documents: Int[Tensor, "batch length"]) -> Iterator[Document]:
    """Yield the documents of each row from left to right.

    Tokens next to each other have one document where their numbers are equal; tokens of negative
    numbers are padding and left out first.

    Example:
        >>> [len(each) for each in list_documents(torch.tensor([[-1, 4, 4, -1, 4, 0, 4]]))]
        [3, 1, 1]
    """
    for row, numbers in enumerate(documents):
        (places,) = (numbers >= 0).nonzero(as_tuple=True)
        values, lengths = torch.unique_consecutive(numbers[places], return_counts=True)
        parts = places.split(lengths.tolist())
        for number, part in zip(values.tolist(), parts, strict=True):
            if len(part):
                yield Document(row, number, part)


def attend_by_document(
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch kv_head length dim"],
    value: Float[Tensor, "batch kv_head length value_dim"],
    documents: Int[Tensor, "batch length"],
    attention: Attention,
) -> Float[Tensor, "batch head length value_dim"]:
    """Return `attention` of each document by itself, and 0 for padding, whatever is there."""
    batch, heads, length, _ = query.shape
    groups: dict[int, list[Tensor]] = {}
    for document in list_documents(documents):
        groups.setdefault(len(document), []).append(document.row * length + document.places)
    # Where all is padding, there are gradients, too.
    out = query.new_zeros(batch * length, heads, value.shape[3]) + zero_of(query, key, value)
    if groups:
        places = torch.cat([place for group in groups.values() for place in group])
        sizes = [size * len(group) for size, group in groups.items()]
        # Each tensor is sorted by document once: a gradient for each document would be as large.
        cut = zip(
            *(torch.split(_tokens(tensor)[places], sizes) for tensor in (query, key, value)),
            strict=True,
        )
        outputs = [
            _tokens(attention(*(_rows(part, size) for part in parts)))
            for size, parts in zip(groups, cut, strict=True)
        ]
        out = out.index_copy(0, places, torch.cat(outputs))
    return torch.unflatten(out, 0, (batch, length)).transpose(1, 2)


def zero_of(*tensors: Float[Tensor, "batch ..."]) -> Float[Tensor, ""]:
    """Return 0, whatever the tensors hold, through which each gets a gradient of 0."""
    return torch.stack([tensor[:0].sum() for tensor in tensors]).sum()


def _tokens(
    tensor: Float[Tensor, "batch head length width"],
) -> Float[Tensor, "token head width"]:
    return tensor.transpose(1, 2).flatten(0, 1)


def _rows(
    tokens: Float[Tensor, "token head width"], length: int
) -> Float[Tensor, "batch head length width"]:
    return torch.unflatten(tokens, 0, (-1, length)).transpose(1, 2)
