"""Word problems of finite groups: words of group elements whose product is the identity.

A symbol is an element in cycle notation (`(1 2)(3 4 5)`, the identity `()`), and a word multiplies
from left to right: its first symbol acts first.
"""

from __future__ import annotations

from statespan.languages.automaton import determinize
from statespan.languages.catalogue import LANGUAGES
from statespan.languages.formal_language import Language
from statespan.languages.permutation_group import multiply, permutation_group

__all__: list[str] = []


@LANGUAGES.register("word-problem")
def word_problem(*, group: str = "S_5", generators: str = "all") -> Language:
    """Words of group elements whose product is the identity.

    `group` is Z_n, S_n or A_n, or a product of them such as A_4xZ_5. `generators` is `all`
    elements, or `adjacent`: the transpositions (i i+1) of S_n, the 3-cycles (i i+1 i+2) of A_n,
    the rotation by one of Z_n.
    """
    made = permutation_group(group, generators)
    letters = list(made.letters.values())
    dfa = determinize(
        tuple(made.letters),
        made.identity,
        lambda state, symbol: multiply(state, letters[symbol]),
        lambda state: state == made.identity,
    )
    return Language.from_dfa(dfa)
