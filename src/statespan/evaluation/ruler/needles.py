"""Needles in a haystack: eight tasks, of one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal, TypeAlias, final
from uuid import UUID

from statespan.evaluation.ruler.task import Draft, Form, RulerTask, Setting
from statespan.evaluation.ruler.words import WordList

__all__ = ["DEPTHS", "NOISE", "Kind", "NeedleTask"]

NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
DEPTHS = tuple(round(100 * step / 39) for step in range(40))
"""The percents of a text's sentences after which a needle may stand."""

NEEDLE = "One of the special magic {kind} for {key} is: {value}."
MANY = (
    "Some special magic {kind} are hidden within the following text. Make sure to memorize it. I "
    "will quiz you about the {kind} afterwards.\n{context}\nWhat are all the special magic {kind} "
    "for {query} mentioned in the provided text?"
)
MANY_PREFIX = " The special magic {kind} for {query} mentioned in the provided text are"
ONE = (
    "A special magic {kind} is hidden within the following text. Make sure to memorize it. I "
    "will quiz you about the {kind} afterwards.\n{context}\nWhat is the special magic {kind} "
    "for {query} mentioned in the provided text?"
)
ONE_PREFIX = " The special magic {kind} for {query} mentioned in the provided text is"

Kind: TypeAlias = Literal["words", "numbers", "uuids"]


@final
@dataclass(frozen=True, slots=True)
class NeedleTask(RulerTask):
    """Facts hidden in a haystack, some of which are asked for.

    Attributes:
        haystack: prose, noise (one sentence again and again), or other needles.
        key, value: what the facts are made of.
        keys, values, queries: keys in the text, values a key, keys that are asked for.
    """

    group: str
    haystack: Literal["prose", "noise", "needles"]
    key: Kind = "words"
    value: Kind = "numbers"
    keys: int = 1
    values: int = 1
    queries: int = 1

    tokens_to_generate: ClassVar[int] = 128

    def forms(self, setting: Setting) -> tuple[Form, ...]:
        """Return a form with as many parts of haystack as needles, and one with fewer, or none."""
        del setting
        return (Form(least=self.keys * self.values), Form(least=0, original=False))

    @property
    def uses_words(self) -> bool:
        return "words" in {self.key, self.value}

    def haystack_name(self, setting: Setting) -> str:
        return setting.haystack.name if self.haystack == "prose" else self.haystack

    def draft(self, units: int, form: Form, setting: Setting, rng: Random) -> Draft:
        del form
        keys: dict[str, list[str]] = {}
        while len(keys) < self.keys:
            key = _draw(self.key, setting.words, rng)
            keys[key] = [_draw(self.value, setting.words, rng) for _ in range(self.values)]
        facts = [(key, value) for key, values in keys.items() for value in values]
        rng.shuffle(facts)
        asked = rng.sample(list(keys), self.queries)
        answers = [value for key in asked for value in keys[key]]
        hay = Random(rng.getrandbits(64))
        parts, joint = self._hide(facts, units, setting, hay)
        context = joint.join(parts)
        single = self.queries * self.values == 1
        question, prefix = (ONE, ONE_PREFIX) if single else (MANY, MANY_PREFIX)
        names = {"kind": self.value[:-1] if single else self.value, "query": _enumerate(asked)}
        depths = [context.index(f"{value}.") / len(context) for value in answers]
        return Draft(
            question=question.format(context=context, **names),
            prefix=prefix.format(**names),
            completion=f" {_enumerate(answers)}.",
            answers=answers,
            depths=depths,
        )

    def _hide(
        self, facts: Sequence[tuple[str, str]], units: int, setting: Setting, rng: Random
    ) -> tuple[list[str], str]:
        """Return the context in parts, and what joins them."""
        needles = [NEEDLE.format(kind=self.value, key=key, value=value) for key, value in facts]
        if self.haystack == "prose":
            return _between_sentences(needles, setting.haystack.first(units), rng), " "
        if self.haystack == "noise":
            straw = [NOISE] * units
        else:
            straw = self._other_needles({key for key, _ in facts}, units, setting.words, rng)
        places = sorted(rng.sample(range(units), min(len(needles), units)), reverse=True)
        for place, needle in zip(places, needles, strict=False):
            straw.insert(place, needle)
        return straw + needles[len(places) :], "\n"

    def _other_needles(self, keys: set[str], units: int, words: WordList, rng: Random) -> list[str]:
        """Return needles whose keys are not among `keys`: those that are asked for stay unique."""
        others: list[str] = []
        while len(others) < units:
            key, value = _draw(self.key, words, rng), _draw(self.value, words, rng)
            if key not in keys:
                others.append(NEEDLE.format(kind=self.value, key=key, value=value))
        return others


def _between_sentences(needles: Sequence[str], sentences: list[str], rng: Random) -> list[str]:
    """Return the text before, between and after the needles, each at a depth of its own."""
    depths = sorted(rng.sample(DEPTHS, len(needles)))
    places = [int(len(sentences) * (depth / 100)) for depth in depths]
    parts = []
    begin = 0
    for place, needle in zip(places, needles, strict=True):
        parts += [" ".join(sentences[begin:place]), needle]
        begin = place
    return [*parts, " ".join(sentences[begin:])]


def _draw(kind: Kind, words: WordList, rng: Random) -> str:
    if kind == "words":
        return words.draw_key(rng)
    if kind == "numbers":
        return str(rng.randint(1_000_000, 9_999_999))
    return str(UUID(int=rng.getrandbits(128), version=4))


def _enumerate(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])}, and {names[-1]}"
