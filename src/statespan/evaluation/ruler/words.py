"""The words that RULER's keys and lists are made of, and where they are from."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from importlib.util import find_spec
from random import Random
from typing import final

__all__ = ["OWN", "WONDERWORDS", "WordList", "word_list"]

OWN = "own list"
WONDERWORDS = "wonderwords"


@final
@dataclass(frozen=True, slots=True)
class WordList:
    """English words by part of speech, each once and in order.

    Attributes:
        source: where they are from: `wonderwords`, as in the original, or `own list`.
    """

    source: str
    nouns: tuple[str, ...]
    adjectives: tuple[str, ...]
    verbs: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """All of them once, sorted."""
        return _distinct(self.nouns + self.adjectives + self.verbs)

    def draw_key(self, rng: Random) -> str:
        """Return an adjective and a noun, joined by a hyphen: each such pair is as likely."""
        return f"{rng.choice(self.adjectives)}-{rng.choice(self.nouns)}"

    def draw_words(self, count: int, rng: Random) -> list[str]:
        """Return `count` distinct words; where there are not so many, pairs join them."""
        words = self.words
        if count <= len(words):
            return rng.sample(words, count)
        pairs = rng.sample(range(len(words) ** 2), count - len(words))
        joined = [f"{words[pair // len(words)]}-{words[pair % len(words)]}" for pair in pairs]
        drawn = [*words, *joined]
        rng.shuffle(drawn)
        return drawn


@cache
def _distinct(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(words)))


@cache
def word_list(source: str | None = None) -> WordList:
    """Return the words of `wonderwords` where it is installed, as the original does, or our own.

    Example:
        >>> word_list("own list").draw_key(Random(0))
        'yellow-mist'
    """
    if source == WONDERWORDS or (source is None and find_spec(WONDERWORDS) is not None):
        # By its name: it is an extra, and its types would be there only where it is installed.
        words = import_module(WONDERWORDS).RandomWord()
        nouns, adjectives, verbs = (
            _distinct(tuple(words.filter(include_categories=[kind])))
            for kind in ("noun", "adjective", "verb")
        )
        return WordList(WONDERWORDS, nouns, adjectives, verbs)
    text = resources.files("statespan.evaluation.ruler").joinpath("words.toml").read_text("utf-8")
    table = {kind: _distinct(tuple(listed.split())) for kind, listed in tomllib.loads(text).items()}
    return WordList(OWN, **table)
