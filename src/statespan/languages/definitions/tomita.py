"""Tomita's seven languages over {0, 1} (Tomita 1982), as in the suite of Bhattamishra et al. 2020.

Each has the generator of Sarrof, Veitsman and Hahn 2024 (arXiv:2405.17394) as published sampler.
"""

from __future__ import annotations

from random import Random

from statespan.languages.automaton import determinize
from statespan.languages.catalogue import LANGUAGES
from statespan.languages.definitions.drawing import draw_coins
from statespan.languages.formal_language import Language

__all__: list[str] = []

BITS = ("0", "1")


@LANGUAGES.register("tomita-1")
def tomita_1() -> Language:
    """Words of 1s only."""

    def draw(shortest: int, longest: int, rng: Random) -> str:
        return "1" * rng.randint(shortest, longest)

    return Language.from_expression("1*", alphabet=BITS, published=draw)


@LANGUAGES.register("tomita-2")
def tomita_2() -> Language:
    """Repetitions of 10."""

    def draw(shortest: int, longest: int, rng: Random) -> str:
        return "10" * ((rng.randint(shortest, longest) + 1) // 2)

    return Language.from_expression("(10)*", alphabet=BITS, published=draw)


@LANGUAGES.register("tomita-3")
def tomita_3() -> Language:
    """No run of 1s of odd length directly followed by a run of 0s of odd length."""
    table = {
        "alphabet": BITS,
        "start": "even 1s",
        "accepting": ["even 1s", "odd 1s", "odd 1s, even 0s"],
        "transitions": [
            ["even 1s", "0", "even 1s"],
            ["even 1s", "1", "odd 1s"],
            ["odd 1s", "0", "odd 1s, odd 0s"],
            ["odd 1s", "1", "even 1s"],
            ["odd 1s, odd 0s", "0", "odd 1s, even 0s"],
            ["odd 1s, odd 0s", "1", "dead"],
            ["odd 1s, even 0s", "0", "odd 1s, odd 0s"],
            ["odd 1s, even 0s", "1", "odd 1s"],
            ["dead", "0", "dead"],
            ["dead", "1", "dead"],
        ],
    }
    return Language.from_dfa(table, published=_draw_tomita_3)


def _draw_tomita_3(shortest: int, longest: int, rng: Random) -> str:
    length = rng.randint(shortest, longest)
    word = ""
    last_ones = 0
    while len(word) < length:
        remaining = length - len(word)
        if rng.random() < 0.5:
            last_ones = rng.randint(0, remaining)
            word += "1" * last_ones
        elif last_ones % 2 == 0:
            word += "0" * rng.randint(0, remaining)
        else:
            word += "0" * (2 * rng.randint(0, remaining // 2))
    return word


@LANGUAGES.register("tomita-4")
def tomita_4() -> Language:
    """No three 0s in a row."""

    def draw(shortest: int, longest: int, rng: Random) -> str:
        word = ""
        for _ in range(rng.randint(shortest, longest)):
            word += "1" if word.endswith("00") else rng.choice(BITS)
        return word

    return Language.from_expression("~(.*000.*)", alphabet=BITS, published=draw)


@LANGUAGES.register("tomita-5")
def tomita_5() -> Language:
    """An even number of 0s and an even number of 1s."""
    dfa = determinize(
        BITS,
        (0, 0),
        lambda parities, bit: (parities[0] ^ (bit == 0), parities[1] ^ (bit == 1)),
        lambda parities: parities == (0, 0),
    )
    return Language.from_dfa(dfa, published=draw_coins)


@LANGUAGES.register("tomita-6")
def tomita_6() -> Language:
    """The number of 0s and the number of 1s are equal modulo 3."""
    dfa = determinize(
        BITS, 0, lambda difference, bit: (difference + 1 - 2 * bit) % 3, lambda d: d == 0
    )
    return Language.from_dfa(dfa, published=draw_coins)


@LANGUAGES.register("tomita-7")
def tomita_7() -> Language:
    """0*1*0*1*: at most four runs, the first of 0s."""

    def draw(shortest: int, longest: int, rng: Random) -> str:
        del shortest
        word = ""
        for bit in "0101":
            word += bit * rng.randint(0, longest - len(word))
        return word

    return Language.from_expression("0*1*0*1*", published=draw)
