"""Star-free languages of the suite that belong to no larger family."""

from __future__ import annotations

from random import Random

from statespan.languages.catalogue import LANGUAGES
from statespan.languages.definitions.drawing import draw_flanked
from statespan.languages.formal_language import Language

__all__: list[str] = []


@LANGUAGES.register("ab-star-d-bc-star")
def ab_star_d_bc_star() -> Language:
    """{a,b}*d{b,c}*: one d, only a and b before it, only b and c after it."""

    def draw(shortest: int, longest: int, rng: Random) -> str:
        del shortest
        return draw_flanked(longest, rng, before="ab", middle="d", after="bc")

    return Language.from_expression("(a|b)*d(b|c)*", published=draw)


@LANGUAGES.register("012-star-02-star")
def zero_one_two_star_zero_two_star() -> Language:
    """{0,1,2}*02*: the last symbol that is not 2 is 0."""

    def draw(shortest: int, longest: int, rng: Random) -> str:
        del shortest
        return draw_flanked(longest, rng, before="012", middle="0", after="2")

    return Language.from_expression("(0|1|2)*02*", published=draw)


@LANGUAGES.register("aa-star-bb-star-cc-star-dd-star-ee-star")
def five_runs() -> Language:
    """Five runs, of a, b, c, d and e in this order, none empty."""

    def draw(shortest: int, longest: int, rng: Random) -> str:
        rest = longest - shortest + 1
        word = ""
        for symbol in "abcde":
            extra = rng.randint(1, rest) if rest > 0 else 0
            rest -= extra
            word += symbol * (shortest // 5 + extra)
        return word

    return Language.from_expression("aa*bb*cc*dd*ee*", published=draw)
