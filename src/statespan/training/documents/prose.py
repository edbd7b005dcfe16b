"""Running text to train on: the novels of a folder, their passages, sentences and words."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import final

from statespan.errors import InputError
from statespan.records import read_bytes
from statespan.records.storage import storage_error

__all__ = ["Prose", "paragraphs", "read_prose"]

SENTENCE_END = re.compile(r"[.!?][\"'”’)]*\s+")
WORD = re.compile(r"(?<=[a-z] )[a-z]{4,9}(?= )")
WORDS_FROM = 200_000
"""Characters at the beginning of a novel whose words count."""
BROKEN = 100
"""Characters of the longest line where lines are broken to a width."""
FEWEST_CHARACTERS = 4_000
FEWEST_WORDS = 24
FREQUENT, ANY_WORD = 1_000, 0.25


def read_prose(folder: Path) -> Prose:
    """Return the prose in the `.txt` files in `folder`, in the order of their names.

    Raises:
        InputError: `folder` is none, holds no such file, or one that is not UTF-8 or too short.
        StorageError: a file cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"the folder of text {folder} is not there, or is no folder.")
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".txt")
    except OSError as error:
        raise storage_error(folder, "read", error) from error
    if not paths:
        raise InputError(f"the folder of text {folder} holds no file that ends in .txt.")
    return Prose([_read_novel(path) for path in paths])


def _read_novel(path: Path) -> str:
    try:
        text = read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8: byte {error.start} does not fit. Convert it, for example with "
            f"iconv -f latin1 -t utf8."
        ) from error
    novel = "\n".join(paragraphs(text))
    if len(novel) < FEWEST_CHARACTERS:
        raise InputError(
            f"{path} has {len(novel)} characters of text, fewer than the {FEWEST_CHARACTERS} that "
            "a document can take: leave it out."
        )
    return novel


def paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs without blanks beside each other: lines, or what empty lines part.

    They are what empty lines part where no line is long, for then the lines were broken.
    """
    is_broken = max(map(len, text.splitlines()), default=0) <= BROKEN
    for part in text.split("\n\n") if is_broken else text.splitlines():
        paragraph = " ".join(part.split())
        if paragraph:
            yield paragraph


@final
class Prose:
    """Novels, each one text with a line a paragraph.

    Attributes:
        novels: the texts.
        words: their distinct words of four to nine small letters, the most frequent first.
    """

    def __init__(self, novels: Sequence[str]) -> None:
        self.novels = tuple(novels)
        self.words = _frequent_words(self.novels)
        self._ends = list(itertools.accumulate(len(novel) for novel in self.novels))

    @property
    def digest(self) -> str:
        """The SHA-256 of the novels, to tell whether they are still the same."""
        return hashlib.sha256("\0".join(self.novels).encode()).hexdigest()

    @property
    def characters(self) -> int:
        """The number of characters of all novels."""
        return self._ends[-1]

    def passage(self, characters: int, *, rng: Random) -> str:
        """Return about `characters` characters from the beginning of a sentence on.

        Every character of the novels is as likely as any other to be the one before the sentence.
        """
        (novel,) = rng.choices(self.novels, cum_weights=self._ends)
        begin = rng.randrange(max(1, len(novel) - characters))
        found = SENTENCE_END.search(novel, begin)
        begin = begin if found is None else found.end()
        return novel[begin : begin + characters]

    def sentences(self, count: int, *, rng: Random) -> list[str]:
        """Return `count` whole sentences, as they follow each other in a novel."""
        found: list[str] = []
        characters = 200 * count
        while len(found) < count:
            passage = self.passage(characters, rng=rng).replace("\n", " ")
            ends = [match.end() for match in SENTENCE_END.finditer(passage)]
            pairs = itertools.pairwise([0, *ends])
            found += [passage[begin:end].strip() for begin, end in pairs]
        return found[:count]

    def word(self, *, rng: Random) -> str:
        """Return one of the thousand most frequent of `words`, or, one time in four, any of them.

        So a model soon tells most of the words apart that it has to recall, and a short document
        has hardly a word twice.
        """
        count = len(self.words) if rng.random() < ANY_WORD else min(FREQUENT, len(self.words))
        return self.words[rng.randrange(count)]

    def distinct_words(self, count: int, *, rng: Random) -> list[str]:
        """Return `count` different words, drawn like one; at most half as many as there are."""
        found: dict[str, None] = {}
        while len(found) < min(count, len(self.words) // 2):
            found[self.word(rng=rng)] = None
        return list(found)


def _frequent_words(novels: Sequence[str]) -> list[str]:
    counts: Counter[str] = Counter()
    for novel in novels:
        counts.update(WORD.findall(novel[:WORDS_FROM]))
    if len(counts) < FEWEST_WORDS:
        raise InputError(
            f"the text needs {FEWEST_WORDS} different words of four to nine small Latin letters to "
            f"ask for, got {len(counts)}."
        )
    return sorted(counts, key=lambda word: (-counts[word], word))
