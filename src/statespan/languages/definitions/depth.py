"""D_n: one type of bracket, written a and b, nested at most n deep. D_n = (a D_{n-1} b)*."""

from __future__ import annotations

from random import Random

from statespan.languages.automaton import determinize
from statespan.languages.catalogue import LANGUAGES
from statespan.languages.formal_language import Language

__all__: list[str] = []

MAX_FAILURES = 20_000


def _bounded_depth(limit: int) -> Language:
    def step(depth: int | None, symbol: int) -> int | None:
        if depth is None:
            return None
        following = depth + 1 - 2 * symbol
        return following if 0 <= following <= limit else None

    def draw(shortest: int, longest: int, rng: Random) -> str:
        ratio = 0.75
        while ratio > 0:
            for _ in range(MAX_FAILURES):
                target = int(rng.gauss(ratio * longest, 0.1 * ratio * longest))
                word = _draw_depth(limit, target, rng)
                if shortest <= len(word) <= longest:
                    return word
            ratio -= 0.02
        return ""

    return Language.from_dfa(
        determinize(("a", "b"), 0, step, lambda depth: depth == 0), published=draw
    )


def _draw_depth(limit: int, length: int, rng: Random) -> str:
    word = ""
    while limit and len(word) < length:
        inner = int(rng.gauss(0.75 * length, 0.075 * length))
        word += f"a{_draw_depth(limit - 1, inner, rng)}b"
    return word


@LANGUAGES.register("d-2")
def d_2() -> Language:
    """Brackets a and b in balance, at most 2 deep."""
    return _bounded_depth(2)


@LANGUAGES.register("d-3")
def d_3() -> Language:
    """Brackets a and b in balance, at most 3 deep."""
    return _bounded_depth(3)


@LANGUAGES.register("d-4")
def d_4() -> Language:
    """Brackets a and b in balance, at most 4 deep."""
    return _bounded_depth(4)


@LANGUAGES.register("d-12")
def d_12() -> Language:
    """Brackets a and b in balance, at most 12 deep."""
    return _bounded_depth(12)
