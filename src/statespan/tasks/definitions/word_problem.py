"""Word problems of finite groups, as a product after each element (Merrill et al. 2024)."""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from random import Random

from statespan.languages.permutation_group import Permutation, multiply, permutation_group
from statespan.tasks.catalogue import TASKS
from statespan.tasks.task import Sample, SymbolTask

__all__: list[str] = []


@TASKS.register("word-problem")
def word_problem(*, group: str = "S_5", generators: str = "all") -> SymbolTask:
    """Group elements, each as likely; after each, the product of all so far is the answer.

    `group` and `generators` are those of the language of the same name: Z_n, S_n or A_n or a
    product of them such as A_4xZ_5, and `all` or `adjacent`.
    """
    made = permutation_group(group, generators)
    name_of = {element: frozenset((name,)) for name, element in made.elements.items()}
    letters = tuple(made.letters)

    @cache
    def follow(product: Permutation, letter: str) -> Permutation:
        return multiply(product, made.letters[letter])

    def draw(length: int, rng: Random) -> Sample:
        word = tuple(rng.choices(letters, k=length))
        _, *products = accumulate(word, follow, initial=made.identity)
        return Sample(word, tuple(name_of[product] for product in products))

    return SymbolTask(
        source="Merrill et al. 2024, arXiv:2404.08819",
        bins=[(1, 20), (21, 40), (41, 80)],
        draw=draw,
        has_length=lambda length: length >= 1,
        alphabet=letters,
        answers=tuple(made.elements),
    )
