"""From a model's outputs to one logit a symbol and EOS, and the loss that trains it so.

The task is the seed paper's: after each prefix, exactly the symbols that may follow. A readout says
how many outputs the model has, what they mean, and what they cost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from statespan.registry import Registry
from statespan.training.vocabulary import Vocabulary

__all__ = ["READOUTS", "Readout", "build_readout"]


class Readout(ABC):
    """What the outputs of a model mean, for one vocabulary and one list of answer sets.

    `answer_sets` [set, answer] are the sets of next symbols that occur in the training data, one a
    row, in the order of `Vocabulary.answers`.
    """

    def __init__(self, vocabulary: Vocabulary, answer_sets: Bool[Tensor, "set answer"]) -> None:
        self.vocabulary = vocabulary
        self.answer_sets = answer_sets

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """The number of outputs of the model at each position."""

    @abstractmethod
    def logits(self, outputs: Float[Tensor, "*batch output"]) -> Float[Tensor, "*batch answer"]:
        """Return one logit an answer: positive where the model allows it."""

    @abstractmethod
    def loss(
        self, outputs: Float[Tensor, "position output"], targets: Int[Tensor, " position"]
    ) -> Float[Tensor, ""]:
        """Return the loss summed over positions; a target is a row of `answer_sets`."""


READOUTS: Registry[type[Readout]] = Registry("loss", "losses")
"""Name of the loss -> readout."""


def build_readout(
    name: str, vocabulary: Vocabulary, answer_sets: Bool[Tensor, "set answer"]
) -> Readout:
    """Return the readout that trains with the loss called `name`."""
    return READOUTS.get(name)(vocabulary, answer_sets)


@final
@READOUTS.register("symbols")
class SymbolReadout(Readout):
    """One output a token id; binary cross-entropy a symbol, averaged over the answers."""

    @property
    def num_outputs(self) -> int:
        return self.vocabulary.size

    def logits(self, outputs: Float[Tensor, "*batch output"]) -> Float[Tensor, "*batch answer"]:
        return outputs[..., self.vocabulary.answer_ids]

    def loss(
        self, outputs: Float[Tensor, "position output"], targets: Int[Tensor, " position"]
    ) -> Float[Tensor, ""]:
        wanted = self.answer_sets[targets].to(outputs.dtype)
        loss = binary_cross_entropy_with_logits(self.logits(outputs), wanted, reduction="sum")
        return loss / wanted.shape[-1]


class ClassReadout(Readout):
    """One output a set of next symbols seen in training, as in the seed paper (its §5).

    The model's answer is the set with the largest output. As logits: the largest output among the
    sets with the symbol, minus the largest among those without; that is positive exactly when the
    set with the largest output has the symbol.
    """

    @property
    def num_outputs(self) -> int:
        return len(self.answer_sets)

    def logits(self, outputs: Float[Tensor, "*batch output"]) -> Float[Tensor, "*batch answer"]:
        least = torch.finfo(outputs.dtype).min / 4
        sets = self.answer_sets.T
        inside = outputs[..., None, :].masked_fill(~sets, least).amax(-1)
        outside = outputs[..., None, :].masked_fill(sets, least).amax(-1)
        return inside - outside


@final
@READOUTS.register("class-mse")
class ClassMSEReadout(ClassReadout):
    """Mean squared error between the outputs and the one-hot class, as in the seed paper."""

    def loss(
        self, outputs: Float[Tensor, "position output"], targets: Int[Tensor, " position"]
    ) -> Float[Tensor, ""]:
        wanted = one_hot(targets, self.num_outputs).to(outputs.dtype)
        return (outputs - wanted).square().mean(-1).sum()


@final
@READOUTS.register("class-cross-entropy")
class ClassCrossEntropyReadout(ClassReadout):
    """Cross-entropy over the classes, as in the seed paper."""

    def loss(
        self, outputs: Float[Tensor, "position output"], targets: Int[Tensor, " position"]
    ) -> Float[Tensor, ""]:
        return cross_entropy(outputs, targets, reduction="sum")
