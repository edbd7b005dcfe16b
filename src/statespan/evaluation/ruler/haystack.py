"""The prose that needles are hidden in: the caller's essays, or the novel that is shipped."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import final

from statespan.errors import InputError
from statespan.evaluation.prose import PROSE, default_prose, open_prose

__all__ = ["Haystack", "default_haystack", "essay_haystack"]

_SENTENCE_END = re.compile(r"""(?<=[.!?])["')\]]*\s+(?=["'(\[]*[A-Z0-9])""")


@final
@dataclass(frozen=True, slots=True)
class Haystack:
    """Prose as sentences, of which the first so many words are used, again and again if need be.

    Attributes:
        name: what it is, for the result to say.
        sentences: each with single spaces between its words.
        ends: the number of words up to the end of each sentence.
    """

    name: str
    sentences: tuple[str, ...]
    ends: tuple[int, ...]

    @classmethod
    def from_text(cls, name: str, text: str) -> Haystack:
        r"""Return the haystack of a text; a sentence ends at a full stop before a capital.

        Raises:
            InputError: there is not a word in it.

        Example:
            >>> Haystack.from_text("two", "It rains.  So\nwhat? Mr. Bennet knew.").sentences
            ('It rains.', 'So what?', 'Mr.', 'Bennet knew.')
        """
        plain = " ".join(text.split())
        if not plain:
            raise InputError(f"the haystack {name} needs text, got no word.")
        sentences = tuple(_split_sentences(plain))
        return cls(name, sentences, tuple(accumulate(len(s.split()) for s in sentences)))

    def first(self, words: int) -> list[str]:
        """Return the sentences of the first `words` words; the last one may be cut short."""
        times, rest = divmod(words, self.ends[-1])
        whole = bisect_right(self.ends, rest)
        taken = [*self.sentences * times, *self.sentences[:whole]]
        left = rest - (self.ends[whole - 1] if whole else 0)
        if left:
            taken.append(" ".join(self.sentences[whole].split()[:left]))
        return taken


def _split_sentences(plain: str) -> list[str]:
    cuts = [match.end() for match in _SENTENCE_END.finditer(plain)]
    bounds = zip([0, *cuts], [*cuts, len(plain)], strict=True)
    return [plain[begin:end].rstrip() for begin, end in bounds]


@cache
def default_haystack() -> Haystack:
    """Return the haystack of the shipped novel: public-domain prose instead of essays."""
    return Haystack.from_text(PROSE, default_prose())


def essay_haystack(folder: Path) -> Haystack:
    """Return the haystack of a folder of texts, joined in the order of their names.

    Raises:
        InputError: there is no such folder, no text in it, or text that is not UTF-8.
        StorageError: it cannot be read.
    """
    texts = ["".join(pieces()) for pieces in open_prose(folder)]
    return Haystack.from_text(f"essays: {folder.name}", " ".join(texts))
