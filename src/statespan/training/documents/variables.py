"""Chains of variables: one is given a value, others are given that variable, and so on."""

from __future__ import annotations

from random import Random
from string import ascii_uppercase

from statespan.training.documents.document import DOCUMENTS, Document, Piece
from statespan.training.documents.needles import NOISE
from statespan.training.documents.prose import Prose

__all__ = ["variables"]

MOST_CHAINS = 2
MOST_VARIABLES = 5
LETTERS = (3, 5)


@DOCUMENTS.register("variables")
def variables(size: int, prose: Prose, *, rng: Random) -> Document:
    """Return chains of assignments among `size` lines of noise, and which variables have a value.

    The prompt is that of variable tracking in RULER (arXiv 2404.06654). Each chain is asked for.
    """
    del prose
    length, letters = rng.randint(2, MOST_VARIABLES), rng.choice(LETTERS)
    lines = [NOISE] * size
    values = rng.sample(range(10_000, 100_000), rng.randint(1, MOST_CHAINS))
    names = _names(length * len(values), letters, rng)
    chains = {
        str(value): names[place * length : (place + 1) * length]
        for place, value in enumerate(values)
    }
    for value, chain in chains.items():
        _insert(lines, _assignments(value, chain), rng)
    context = "\n".join(lines)
    pieces = [
        Piece(
            "Memorize and track the chain(s) of variable assignment hidden in the following text."
            f"\n\n{context}"
        )
    ]
    for value in rng.sample(list(chains), len(chains)):
        pieces += [Piece(_question(value, length)), Piece(" ".join(chains[value]), is_answer=True)]
    return tuple(pieces)


def _names(count: int, letters: int, rng: Random) -> list[str]:
    """Return `count` different names."""
    names: dict[str, None] = {}
    while len(names) < count:
        names["".join(rng.choices(ascii_uppercase, k=letters))] = None
    return list(names)


def _assignments(value: str, names: list[str]) -> list[str]:
    sources = [value, *(f"VAR {name}" for name in names)]
    return [f"VAR {name} = {source}" for name, source in zip(names, sources, strict=False)]


def _insert(lines: list[str], assignments: list[str], rng: Random) -> None:
    """Put the assignments between the lines, in their order."""
    places = sorted(rng.randint(0, len(lines)) for _ in assignments)
    for shift, (place, line) in enumerate(zip(places, assignments, strict=True)):
        lines.insert(place + shift, line)


def _question(value: str, length: int) -> str:
    return (
        f"\nQuestion: Find all variables that are assigned the value {value} in the text above. "
        "Answer: According to the chain(s) of variable assignment in the text above, "
        f"{length} variables are assigned the value {value}, they are: "
    )
