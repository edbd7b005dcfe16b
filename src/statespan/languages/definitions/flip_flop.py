"""Flip-flop: instructions w (write), r (read), i (ignore), each with a bit (Liu et al. 2023)."""

from __future__ import annotations

from random import Random

from statespan.errors import InputError
from statespan.languages.automaton import determinize
from statespan.languages.catalogue import LANGUAGES
from statespan.languages.formal_language import Language

__all__: list[str] = []

ALPHABET = ("w", "r", "i", "0", "1")
INSTRUCTIONS = "wri"


def _step(state: tuple[str, str] | None, symbol: int) -> tuple[str, str] | None:
    """Step (pending instruction or "", stored bit or "" before the first write)."""
    if state is None:
        return None
    instruction, stored = state
    name = ALPHABET[symbol]
    if not instruction:
        begins = name in INSTRUCTIONS and (stored or name == "w")
        return (name, "" if name == "w" else stored) if begins else None
    if name in INSTRUCTIONS or (instruction == "r" and name != stored):
        return None
    return "", name if instruction == "w" else stored


@LANGUAGES.register("flip-flop")
def flip_flop(*, ignore: float = 0.8) -> Language:
    """Pairs of an instruction (first w) and a bit; after r the bit last written with w.

    `ignore` is the chance of i in the published sampler; w and r share the rest. The language
    itself does not depend on it.
    """
    if not 0 <= ignore <= 1:
        raise InputError(f"ignore is a chance from 0 to 1, got {ignore}.")

    def draw(shortest: int, longest: int, rng: Random) -> str:
        pairs = rng.randint(-(-shortest // 2), max(longest // 2, -(-shortest // 2)))
        word, stored = "", "0"
        for index in range(pairs):
            chance = rng.random()
            instruction = "i" if chance < ignore else rng.choice("wr")
            if index == 0:
                instruction = "w"
            elif index == pairs - 1:
                instruction = "r"
            bit = stored if instruction == "r" else rng.choice("01")
            stored = bit if instruction == "w" else stored
            word += instruction + bit
        return word

    dfa = determinize(ALPHABET, ("", ""), _step, lambda q: q is not None and not q[0])
    return Language.from_dfa(dfa, published=draw)
