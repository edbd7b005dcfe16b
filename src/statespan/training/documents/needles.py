"""Needles: sentences that give a key a value, hidden in a text that has nothing to do with them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from random import Random

from statespan.training.documents.document import DOCUMENTS, Document, Piece
from statespan.training.documents.prose import Prose

__all__ = ["NOISE", "needle"]

NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
UUID_SHARE = 0.12
MOST_NEEDLES = 8

Draw = Callable[[], str]


@DOCUMENTS.register("needle")
def needle(size: int, prose: Prose, *, rng: Random) -> Document:
    """Return a text of `size` sentences with needles in it, and a question for them at the end.

    The prompts are those of RULER (arXiv 2404.06654): the text is prose, or the same few sentences
    again and again, or other needles; one key has one value, several values, or there are several
    keys, of which one or all are asked for.
    """
    kind, value = ("uuid", _uuid(rng)) if rng.random() < UUID_SHARE else ("number", _number(rng))
    key = _uuid(rng) if kind == "uuid" and rng.random() < 0.5 else _name(prose, rng)
    num_keys, num_values, num_asked = _layout(rng)
    keys: dict[str, list[str]] = {}
    while len(keys) < num_keys:
        keys[key()] = [value() for _ in range(num_values)]
    context = _hide(keys, _haystack(size, prose, kind, key, value, rng), kind, rng)
    asked = rng.sample(list(keys), num_asked)
    is_one = num_asked * num_values == 1
    answers = [answer for name in asked for answer in keys[name]]
    return (
        Piece(_introduction(kind, is_one=is_one) + context + _question(kind, asked, is_one=is_one)),
        Piece(f" {', '.join(answers)}.", is_answer=True),
    )


def _layout(rng: Random) -> tuple[int, int, int]:
    """Return the number of keys, of values a key, and of keys that are asked for."""
    several = rng.randint(2, MOST_NEEDLES)
    return rng.choice(
        ((1, 1, 1), (several, 1, 1), (several, 1, 1), (1, several, 1), (several, 1, several))
    )


def _number(rng: Random) -> Draw:
    return lambda: str(rng.randint(1_000_000, 9_999_999))


def _uuid(rng: Random) -> Draw:
    return lambda: str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _name(prose: Prose, rng: Random) -> Draw:
    return lambda: f"{prose.word(rng=rng)}-{prose.word(rng=rng)}"


def _sentence(kind: str, key: str, value: str) -> str:
    return f"One of the special magic {kind}s for {key} is: {value}."


def _haystack(
    size: int, prose: Prose, kind: str, key: Draw, value: Draw, rng: Random
) -> tuple[str, list[str]]:
    """Return what stands between sentences, and the sentences."""
    match rng.choice(("prose", "noise", "needles")):
        case "prose":
            return " ", prose.sentences(size, rng=rng)
        case "noise":
            return "\n", [NOISE] * size
        case _:
            return "\n", [_sentence(kind, key(), value()) for _ in range(size)]


def _hide(
    keys: dict[str, list[str]], haystack: tuple[str, list[str]], kind: str, rng: Random
) -> str:
    """Return the haystack with a needle for each value of each key at a random place."""
    separator, sentences = haystack
    needles = [_sentence(kind, key, value) for key, values in keys.items() for value in values]
    rng.shuffle(needles)
    places = sorted((rng.randint(0, len(sentences)) for _ in needles), reverse=True)
    # The values of a key are asked for in the order in which they stand in the text.
    for place, sentence in zip(places, reversed(needles), strict=True):
        sentences.insert(place, sentence)
    _sort_values(keys, sentences)
    return separator.join(sentences)


def _sort_values(keys: dict[str, list[str]], sentences: Sequence[str]) -> None:
    text = " ".join(sentences)
    for values in keys.values():
        values.sort(key=text.index)


def _introduction(kind: str, *, is_one: bool) -> str:
    what = f"A special magic {kind} is" if is_one else f"Some special magic {kind}s are"
    quiz = kind if is_one else f"{kind}s"
    return (
        f"{what} hidden within the following text. Make sure to memorize it. I will quiz you "
        f"about the {quiz} afterwards.\n"
    )


def _question(kind: str, names: Sequence[str], *, is_one: bool) -> str:
    query = names[0] if len(names) == 1 else f"{', '.join(names[:-1])}, and {names[-1]}"
    verb, every, plural = ("is", "is", "") if is_one else ("are", "are all", "s")
    subject = f"the special magic {kind}{plural} for {query} mentioned in the provided text"
    return f"\nWhat {every} {subject}? T{subject[1:]} {verb}"
