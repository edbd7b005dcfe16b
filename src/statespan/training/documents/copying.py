"""Copying: something that nobody could guess, and then the same again."""

from __future__ import annotations

from random import Random

from statespan.training.documents.document import DOCUMENTS, Document, Piece
from statespan.training.documents.prose import Prose

__all__ = ["copying"]

INTRODUCTION, AGAIN = "Read this, and write it again.\n", "\nOnce more: "


@DOCUMENTS.register("copying")
def copying(size: int, prose: Prose, *, rng: Random) -> Document:
    """Return `size` random words, as many groups of digits, or some sentences, twice."""
    match rng.choice(("words", "words", "digits", "prose")):
        case "words":
            text = " ".join(prose.word(rng=rng) for _ in range(size))
        case "digits":
            text = " ".join(str(rng.randint(0, 99_999)) for _ in range(size))
        case _:
            text = " ".join(prose.sentences(max(1, size // 12), rng=rng))
    return (Piece(INTRODUCTION + text + AGAIN), Piece(text, is_answer=True))
