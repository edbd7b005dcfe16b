"""A document in pieces of text, some of them answers, and the registry of kinds of documents."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeAlias, final, runtime_checkable

from statespan.registry import Registry
from statespan.training.documents.prose import Prose

__all__ = ["DOCUMENTS", "Document", "DocumentKind", "Piece"]


@final
@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text; `is_answer` where what came before it determines it."""

    text: str
    is_answer: bool = False


Document: TypeAlias = tuple[Piece, ...]
"""One document, piece by piece."""


@runtime_checkable
class DocumentKind(Protocol):
    """Draws documents of one kind: the larger `size`, which is at least 1, the longer they are."""

    def __call__(self, size: int, prose: Prose, *, rng: Random) -> Document:
        """Return a document of `size` parts, with words and sentences from `prose`."""


DOCUMENTS: Registry[DocumentKind] = Registry("kind of document", "documents")
"""Kinds of documents that ask for something to be recalled, by name."""
