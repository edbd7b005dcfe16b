"""What a language model reads and recalls of documents that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from statespan.errors import LengthError
from statespan.jobs.pretrain_config import PretrainConfig
from statespan.records import HeldOutRecord
from statespan.training import python_stream
from statespan.training.documents import DOCUMENTS, DocumentSource, EncodedDocument, pack_rows
from statespan.training.pretraining import target_logits

__all__ = ["HeldOutDocuments", "draw_held_out", "measure_held_out"]

PROSE = "prose"
BATCH = 8


HeldOutDocuments = dict[tuple[str, int], list[EncodedDocument]]
"""Documents by kind and length."""


def draw_held_out(config: PretrainConfig, source: DocumentSource) -> HeldOutDocuments:
    """Return the documents that every measurement of a run reads: prose, and each kind trained on.

    Raises:
        LengthError: no document of a kind is as short as a length.
    """
    kinds = [name for name in DOCUMENTS.names() if config.mixture.kinds.get(name)]
    return {
        (name, length): list(_draw(config, source, name, length))
        for name in (PROSE, *kinds)
        for length in config.lengths
    }


def _draw(
    config: PretrainConfig, source: DocumentSource, name: str, length: int
) -> Iterator[EncodedDocument]:
    rng = python_stream(config.seed, f"held-out/{name}/{length}")
    for _ in range(config.measurement.documents):
        if name == PROSE:
            yield source.draw_prose(length, rng=rng)
            continue
        document = source.draw(name, length, rng=rng)
        if document is None:
            raise LengthError(
                f"no document of the kind {name} is as short as {length} tokens with this "
                "tokenizer: measure at greater lengths (measurement.lengths), or leave the kind "
                "out (mixture.kinds)."
            )
        yield document


@torch.no_grad()
def measure_held_out(model: Any, held_out: HeldOutDocuments, *, step: int) -> list[HeldOutRecord]:
    """Return a record for each kind and length; the model is in evaluation mode afterwards."""
    model.eval()
    return [
        _measure(model, name, length, documents, step)
        for (name, length), documents in held_out.items()
    ]


def _measure(
    model: Any, name: str, length: int, documents: list[EncodedDocument], step: int
) -> HeldOutRecord:
    loss_sum, positions, answers, correct = 0.0, 0, 0, 0
    for begin in range(0, len(documents), BATCH):
        part = documents[begin : begin + BATCH]
        rows = pack_rows([[document] for document in part], length, 0.0)
        counts = rows.weights > 0
        logits, targets = target_logits(model, rows), rows.targets[counts]
        loss_sum += cross_entropy(logits, targets, reduction="sum").item()
        positions += len(targets)
        if name != PROSE:
            is_right = torch.zeros_like(counts)
            is_right[counts] = logits.argmax(-1) == targets
            verdicts = [_right_answers(*row) for row in zip(rows.answers, is_right, strict=True)]
            answers, correct = answers + sum(map(len, verdicts)), correct + sum(map(sum, verdicts))
    return HeldOutRecord(
        step=step,
        document=name,
        length=length,
        documents=len(documents),
        loss_sum=loss_sum,
        positions=positions,
        answers=answers,
        correct=correct,
    )


def _right_answers(
    answers: Int[Tensor, " length"], is_right: Bool[Tensor, " length"]
) -> list[bool]:
    """Return for each answer of a document whether all of its tokens are right."""
    count = int(answers.max()) + 1
    return [bool(is_right[answers == number].all()) for number in range(count)]
