"""Key-value pairs, a line each, and then some of the keys again."""

from __future__ import annotations

from random import Random

from statespan.training.documents.document import DOCUMENTS, Document, Piece
from statespan.training.documents.prose import Prose

__all__ = ["key_value"]

TITLE, AGAIN = "Here is a list.", "Again, in another order:"
NUMBER_SHARE = 0.7


@DOCUMENTS.register("key-value")
def key_value(size: int, prose: Prose, *, rng: Random) -> Document:
    """Return pairs of a word and a number, or of two words, and then all of them shuffled.

    There are `size` of them, or half as many as the prose has words if that is less.
    """
    is_number = rng.random() < NUMBER_SHARE
    digits = rng.randint(3, 7)
    pairs = {
        key: "".join(rng.choices("0123456789", k=digits)) if is_number else prose.word(rng=rng)
        for key in prose.distinct_words(size, rng=rng)
    }
    lines = "".join(f"\n{key}: {value}" for key, value in pairs.items())
    pieces = [Piece(f"{TITLE}{lines}\n{AGAIN}")]
    for key in rng.sample(list(pairs), len(pairs)):
        pieces += [Piece(f"\n{key}:"), Piece(f" {pairs[key]}", is_answer=True)]
    return tuple(pieces)
