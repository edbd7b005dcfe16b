"""Languages that count modulo a number: regular, and not star-free."""

from __future__ import annotations

from random import Random

from statespan.languages.catalogue import LANGUAGES
from statespan.languages.definitions.drawing import draw_coins
from statespan.languages.formal_language import Language, PublishedSampler

__all__: list[str] = []


def _draw_blocks(block: str) -> PublishedSampler:
    def draw(shortest: int, longest: int, rng: Random) -> str:
        return block * (rng.randint(shortest, longest) // len(block))

    return draw


@LANGUAGES.register("parity")
def parity() -> Language:
    """An even number of 1s."""

    def draw(shortest: int, longest: int, rng: Random) -> str:
        word = draw_coins(shortest, longest, rng)
        return word + "1" if word.count("1") % 2 else word

    return Language.from_expression("(0|10*1)*", published=draw)


@LANGUAGES.register("aa-star")
def aa_star() -> Language:
    """Words of a of even length."""
    return Language.from_expression("(aa)*", published=_draw_blocks("aa"))


@LANGUAGES.register("aaaa-star")
def aaaa_star() -> Language:
    """Words of a whose length is divisible by 4."""
    return Language.from_expression("(aaaa)*", published=_draw_blocks("aaaa"))


@LANGUAGES.register("abab-star")
def abab_star() -> Language:
    """Repetitions of abab."""
    return Language.from_expression("(abab)*", published=_draw_blocks("abab"))
