"""What a RULER task is: a way to write a prompt of any size whose answers are known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import ClassVar, final

import msgspec

from statespan.evaluation.ruler.haystack import Haystack
from statespan.evaluation.ruler.words import WordList
from statespan.registry import Registry

__all__ = ["RULER_TASKS", "Draft", "Form", "RulerSample", "RulerTask", "Setting"]


@final
@dataclass(frozen=True, slots=True)
class Setting:
    """What all samples of one task at one length have in common.

    Attributes:
        length: tokens of prompt and answer together, at most.
        count: the number of tokens of a text.
    """

    length: int
    count: Callable[[str], int]
    words: WordList
    haystack: Haystack


@final
@dataclass(frozen=True, slots=True)
class Form:
    """One shape of a task's prompt.

    Attributes:
        least: the least haystack that it is used with, in the task's units.
        example: the size of the worked example before it, in the task's units; None for none.
        repeats: how often a common word comes, and how often another one does.
        original: whether it is the original's, or one that is shorter for want of room.
    """

    least: int
    example: int | None = None
    repeats: tuple[int, int] = (1, 1)
    original: bool = True


@final
@dataclass(frozen=True, slots=True)
class Draft:
    """One prompt, not yet known to fit.

    Attributes:
        question: the prompt up to its answer prefix.
        prefix: the beginning of the answer, to be continued.
        completion: the continuation that a model which knows all answers would give.
        answers: what must all be found in the continuation.
        depths: where the answers stand in the context, from 0 (its beginning) to 1, if they do.
    """

    question: str
    prefix: str
    completion: str
    answers: list[str]
    depths: list[float]

    @property
    def prompt(self) -> str:
        """What the model is to continue."""
        return self.question + self.prefix


@final
class RulerSample(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt of a task, with its answers.

    Attributes:
        task: the name of the task.
        length: the tokens that were asked for.
        index: which of the samples of this task and length it is.
        question: the prompt up to the answer prefix.
        prefix: the answer prefix, with which the prompt ends.
        completion: the continuation that a model which knows all answers would give.
        answers: the strings that must be found in what the model continues with.
        prompt_tokens: tokens of the prompt, as the tokenizer counts them.
        max_new_tokens: tokens that the model may generate; with the prompt, at most `length`.
        units: the size of the haystack: words of prose, sentences of noise, needles, words.
        depths: where the answers stand in the context, from 0 to 1 (needle tasks only).
        original: whether the prompt has the original's shape, or a shorter one for want of room.
        haystack: what the needles are hidden in.
        words: where the words are from.
    """

    task: str
    length: int
    index: int
    question: str
    prefix: str
    completion: str
    answers: list[str]
    prompt_tokens: int
    max_new_tokens: int
    units: int
    depths: list[float]
    original: bool
    haystack: str
    words: str

    @property
    def prompt(self) -> str:
        """What the model is to continue."""
        return self.question + self.prefix


class RulerTask(ABC):
    """A task of RULER (Hsieh et al. 2024, arXiv 2404.06654).

    Attributes:
        group: the group that the span-expanded attention paper reports it in.
        tokens_to_generate: the tokens that the original keeps free for the answer.
    """

    group: str
    tokens_to_generate: ClassVar[int]

    @abstractmethod
    def forms(self, setting: Setting) -> tuple[Form, ...]:
        """Return the shapes that its prompt may have, the original's first, then shorter ones."""

    @abstractmethod
    def draft(self, units: int, form: Form, setting: Setting, rng: Random) -> Draft:
        """Return the prompt that `rng` draws, with a haystack of `units`.

        The same state of `rng` gives the same answers, whatever the units.
        """

    @abstractmethod
    def haystack_name(self, setting: Setting) -> str:
        """Return what the haystack is made of."""

    @property
    @abstractmethod
    def uses_words(self) -> bool:
        """Whether there are words of the word list in it."""


RULER_TASKS: Registry[RulerTask] = Registry("RULER task", "ruler_tasks")
