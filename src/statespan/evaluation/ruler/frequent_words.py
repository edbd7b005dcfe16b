"""Frequent words: the three coded words that come most often, in a text of Zipf's kind."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from random import Random
from string import ascii_lowercase
from typing import ClassVar, final

from statespan.evaluation.ruler.task import Draft, Form, RulerTask, Setting

__all__ = ["FrequentWordsTask", "word_counts"]

QUESTION = (
    "Read the following coded text and track the frequency of each coded word. Find the three most "
    "frequently appeared coded words. {context}\nQuestion: Do not provide any explanation. Please "
    "ignore the dots '....'. What are the three most frequently appeared words in the above coded "
    "text?"
)
PREFIX = " Answer: According to the coded text above, the three most frequently appeared words are:"
NOISE = "..."
ASKED = 3
LETTERS = 6
ZETA = pi**2 / 6
"""Riemann's zeta function at 2, the exponent of the original."""

LEAST = 30


@final
@dataclass(frozen=True, slots=True)
class FrequentWordsTask(RulerTask):
    """Coded words whose frequencies fall with the square of their rank; the first one is dots.

    A unit is a word of the text, before its counts are rounded down. There are `length // 50`
    coded words.
    """

    group: str = "CF-WE"

    tokens_to_generate: ClassVar[int] = 50

    @property
    def uses_words(self) -> bool:
        return False

    def haystack_name(self, setting: Setting) -> str:
        del setting
        return "coded words"

    def forms(self, setting: Setting) -> tuple[Form, ...]:
        del setting
        return (Form(least=LEAST),)

    def draft(self, units: int, form: Form, setting: Setting, rng: Random) -> Draft:
        del form
        coded: dict[str, None] = {}
        while len(coded) < setting.length // 50 - 1:
            coded["".join(rng.choices(ascii_lowercase, k=LETTERS))] = None
        vocabulary = [NOISE, *coded]
        counts = word_counts(units, len(vocabulary))
        text = [word for word, count in zip(vocabulary, counts, strict=True) for _ in range(count)]
        rng.shuffle(text)
        question = QUESTION.format(context=" ".join(text))
        answers = vocabulary[1 : 1 + ASKED]
        return Draft(question, PREFIX, f" {', '.join(answers)}", answers, [])


def word_counts(units: int, vocabulary: int) -> list[int]:
    """Return how often the word of each rank comes in a text of `units` words.

    Where rounding would make the last word that is asked for as rare as the next one, the text is a
    little shorter: the answer is unique.

    >>> word_counts(100, 6), word_counts(45, 6)
    ([60, 15, 6, 3, 2, 1], [24, 6, 2, 1, 0, 0])
    """
    while True:
        counts = [int(units / rank**2 / ZETA) for rank in range(1, vocabulary + 1)]
        asked, others = counts[1 : 1 + ASKED], counts[1 + ASKED :]
        if units < LEAST or not others or asked[-1] > others[0]:
            return counts
        units -= 1
