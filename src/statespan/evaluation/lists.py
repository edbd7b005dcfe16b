"""Lists of keys and values in text: how many of the keys, asked in another order, have their value.

The number of pairs grows with the length, so a state of fixed size cannot keep them all: it takes
attention, or a state as large as the list. It is multi-query associative recall (Arora et al. 2023,
arXiv 2312.04927) in words and numbers, for models that were trained on text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

import torch

from statespan.errors import InputError, LengthError
from statespan.evaluation.language_model import LanguageModel
from statespan.evaluation.logits import next_tokens
from statespan.evaluation.prose import default_prose
from statespan.records import RecallRecord
from statespan.training.documents import DocumentSource, EncodedDocument, Prose
from statespan.training.text import TextEncoder

__all__ = ["LISTS", "draw_lists", "evaluate_lists"]

LISTS = "lists"
KIND = "key-value"


def draw_lists(
    model: LanguageModel, length: int, samples: int, *, seed: int = 0
) -> list[EncodedDocument]:
    """Return lists of at most `length` tokens: first all pairs, then all keys in another order.

    Most are longer than three quarters of it, none much shorter than half.

    Keys, and a third of the values, are words of the novel that is shipped; other values are
    numbers of three to seven digits.

    Raises:
        InputError: the model has no tokenizer.
        LengthError: no list is as short as `length`.
    """
    if model.tokenizer is None:
        raise InputError("lists are made of text: the model needs a tokenizer, got none.")
    encoder = TextEncoder(lambda text: model.encode(text, leading=False), model.leading)
    source = DocumentSource(Prose([default_prose()]), encoder)
    drawn = []
    for index in range(samples):
        rng = Random(f"{seed}/{LISTS}/{length}/{index}")
        document = source.draw(KIND, length - len(model.leading), rng=rng)
        if document is None:
            least = source.shortest[KIND] + len(model.leading)
            raise LengthError(f"length must be at least about {least} tokens, got {length}.")
        drawn.append(document)
    return drawn


@torch.no_grad()
def evaluate_lists(
    model: LanguageModel,
    length: int,
    samples: int,
    *,
    seed: int = 0,
    batch_size: int = 1,
    attention: str = "full",
    on_step: Callable[[int], None] = lambda _: None,
) -> RecallRecord:
    """Return how many values of `samples` lists a model gives, each token of them the likeliest.

    Each value is asked with the right ones before it; its positions are counted as one.

    Raises:
        as `draw_lists`.
    """
    documents = draw_lists(model, length, samples, seed=seed)
    right: list[list[bool]] = []
    for begin in range(0, samples, batch_size):
        right += _answer(model, documents[begin : begin + batch_size])
        on_step(len(right))
    return RecallRecord(
        attention=attention,
        task=LISTS,
        length=length,
        samples=samples,
        correct=sum(map(all, right)),
        positions=sum(map(len, right)),
        correct_positions=sum(map(sum, right)),
    )


def _answer(model: LanguageModel, documents: Sequence[EncodedDocument]) -> Iterator[list[bool]]:
    """Yield, for each list, which of its values the model gives."""
    leading = len(model.leading)
    longest = leading + max(len(document.tokens) for document in documents)
    tokens = torch.zeros(len(documents), longest, dtype=torch.long)
    for row, document in zip(tokens, documents, strict=True):
        row[: leading + len(document.tokens)] = torch.tensor([*model.leading, *document.tokens])
    first = leading + min(document.answers.index(0) for document in documents) - 1
    given = next_tokens(model.model, tokens[:, :-1].to(model.device), begin=first).tolist()
    for row, document in zip(given, documents, strict=True):
        values = [True] * (max(document.answers) + 1)
        for place, (token, number) in enumerate(
            zip(document.tokens, document.answers, strict=True), start=leading
        ):
            if number >= 0:
                values[number] &= row[place - 1 - first] == token
        yield values
