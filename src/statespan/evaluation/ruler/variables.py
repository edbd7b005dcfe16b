"""Variable tracking: which variables have a value, by way of a chain of assignments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from string import ascii_uppercase
from typing import ClassVar, final

from statespan.evaluation.ruler.fitting import largest
from statespan.evaluation.ruler.needles import NOISE
from statespan.evaluation.ruler.task import Draft, Form, RulerTask, Setting

__all__ = ["VariableTask"]

QUESTION = (
    "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n"
    "{context}\nQuestion: Find all variables that are assigned the value {query} in the text above."
)
PREFIX = (
    " Answer: According to the chain(s) of variable assignment in the text above, {number} "
    "variables are assigned the value {query}, they are: "
)
NOISE_SENTENCES = tuple(f"{part}." for part in NOISE.rstrip(".").split(". "))

EXAMPLE_TOKENS = 500
"""What the original gives the worked example."""

LEAST_NOISE = 5


@final
@dataclass(frozen=True, slots=True)
class VariableTask(RulerTask):
    """One chain of assignments in noise, after a worked example.

    Attributes:
        hops: assignments after the first; the answer is one variable more.
    """

    group: str = "VT"
    hops: int = 4

    tokens_to_generate: ClassVar[int] = 30

    @property
    def uses_words(self) -> bool:
        return False

    def haystack_name(self, setting: Setting) -> str:
        del setting
        return "noise"

    def forms(self, setting: Setting) -> tuple[Form, ...]:
        """Return the original's form, whose example takes up to 500 tokens, and shorter ones."""

        def tokens(noise: int) -> int:
            return setting.count(self._example(noise, Random(0)))

        found = largest(tokens, EXAMPLE_TOKENS, least=LEAST_NOISE, guess=2 * LEAST_NOISE)
        whole = LEAST_NOISE if found is None else found
        return (
            Form(least=LEAST_NOISE, example=whole),
            Form(least=LEAST_NOISE, example=1, original=False),
            Form(least=LEAST_NOISE, original=False),
            Form(least=0, original=False),
        )

    def draft(self, units: int, form: Form, setting: Setting, rng: Random) -> Draft:
        del setting
        shown = Random(rng.getrandbits(64))
        question, prefix, answers = self._problem(units, 5, rng)
        example = "" if form.example is None else f"{self._example(form.example, shown)}\n\n"
        return Draft(example + question, prefix, " ".join(answers), answers, [])

    def _example(self, noise: int, rng: Random) -> str:
        """Return a problem with its answer: shorter names, and as much noise."""
        question, prefix, answers = self._problem(noise, 3, rng)
        return f"{question}{prefix} {' '.join(answers)}"

    def _problem(self, noise: int, letters: int, rng: Random) -> tuple[str, str, list[str]]:
        """Return question, answer prefix and answers."""
        names: dict[str, None] = {}
        while len(names) <= self.hops:
            names["".join(rng.choices(ascii_uppercase, k=letters))] = None
        variables = list(names)
        value = str(rng.randrange(10_000, 99_999))
        chain = [f"VAR {variables[0]} = {value}"]
        chain += [f"VAR {new} = VAR {old} " for old, new in pairwise(variables)]
        context = "\n".join(_scatter(chain, noise, rng))
        return (
            QUESTION.format(context=context, query=value),
            PREFIX.format(number=len(variables), query=value),
            variables,
        )


def _scatter(chain: Sequence[str], noise: int, rng: Random) -> list[str]:
    """Return lines of noise with the chain between them, in its order."""
    lines = [NOISE] * noise
    if 0 < noise < len(chain):
        lines = list(NOISE_SENTENCES) * noise
    places = sorted(rng.sample(range(len(lines)), len(chain))) if lines else [0] * len(chain)
    for offset, (place, line) in enumerate(zip(places, chain, strict=True)):
        lines.insert(place + offset, line)
    return lines
