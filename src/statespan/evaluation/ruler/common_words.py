"""Common words: the ten words that stand most often in a numbered list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, final

from statespan.evaluation.ruler.task import Draft, Form, RulerTask, Setting

__all__ = ["CommonWordsTask"]

QUESTION = (
    "Below is a numbered list of words. In these words, some appear more often than others. "
    "Memorize the ones that appear most often.\n{context}\nQuestion: What are the 10 most common "
    "words in the above list?"
)
PREFIX = " Answer: The top 10 words that appear most often in the list are:"
COMMON = 10
"""The prompt asks for so many."""

LONG = 4096
"""The length from which on the original repeats its words more often."""

EXAMPLE_REPEATS = {20: (3, 1), 40: (10, 3)}
"""Words of a worked example -> how often a common one comes, and another."""


@final
@dataclass(frozen=True, slots=True)
class CommonWordsTask(RulerTask):
    """Ten words that come often among words that come rarely, after a worked example.

    A unit is a distinct word. The original repeats the common words 30 times and the others 3
    times; below 4,096 tokens, 6 times and once.
    """

    group: str = "CF-WE"

    tokens_to_generate: ClassVar[int] = 120

    @property
    def uses_words(self) -> bool:
        return True

    def haystack_name(self, setting: Setting) -> str:
        del setting
        return "words"

    def forms(self, setting: Setting) -> tuple[Form, ...]:
        """Return the original's form, then shorter ones: no example, then fewer repetitions."""
        least = COMMON + 1
        if setting.length >= LONG:
            original = Form(least=least, example=40, repeats=(30, 3))
            fewer = [(30, 3), (6, 1), (3, 1), (2, 1)]
        else:
            original = Form(least=least, example=20, repeats=(6, 1))
            fewer = [(6, 1), (3, 1), (2, 1)]
        return (original, *(Form(least=least, repeats=few, original=False) for few in fewer))

    def draft(self, units: int, form: Form, setting: Setting, rng: Random) -> Draft:
        example = ""
        if form.example is not None:
            words = setting.words.draw_words(form.example, rng)
            listed = _shuffled(words, EXAMPLE_REPEATS[form.example], rng)
            answer = _number(words[:COMMON])
            example = f"{QUESTION.format(context=_number(listed))}{PREFIX} {answer}\n"
        words = setting.words.draw_words(units, rng)
        listed = _shuffled(words, form.repeats, rng)
        question = QUESTION.format(context=_number(listed))
        answers = words[:COMMON]
        return Draft(example + question, PREFIX, f" {_number(answers)}", answers, [])


def _shuffled(words: list[str], repeats: tuple[int, int], rng: Random) -> list[str]:
    """Return the first ten words and the others, each as often as is said, in any order."""
    often, rarely = repeats
    listed = [*words[:COMMON] * often, *words[COMMON:] * rarely]
    rng.shuffle(listed)
    return listed


def _number(words: Sequence[str]) -> str:
    return " ".join(f"{number}. {word}" for number, word in enumerate(words, start=1))
