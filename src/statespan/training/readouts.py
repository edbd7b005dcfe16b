"""What a model's outputs mean, and the loss that trains it so.

Of a language, a model says what the seed paper asks: after each prefix, exactly the symbols that
may follow. Of a task it says one answer, or a number.
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

__all__ = [
    "READOUTS",
    "ChoiceReadout",
    "Readout",
    "SetReadout",
    "ValueReadout",
    "build_readout",
]


class Readout(ABC):
    """How many outputs a model has, and what they cost."""

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """The number of outputs of the model at each position."""

    @abstractmethod
    def loss(self, outputs: Float[Tensor, "position output"], targets: Tensor) -> Float[Tensor, ""]:
        """Return the loss summed over positions; `targets` [position] say what is right there."""


class SetReadout(Readout):
    """A readout that says a set of answers, for one vocabulary and one list of answer sets.

    `answer_sets` [set, answer] are the sets of next symbols that occur in the training data, one a
    row, in the order of `Vocabulary.answers`.
    """

    def __init__(self, vocabulary: Vocabulary, answer_sets: Bool[Tensor, "set answer"]) -> None:
        self.vocabulary = vocabulary
        self.answer_sets = answer_sets

    @abstractmethod
    def logits(self, outputs: Float[Tensor, "*batch output"]) -> Float[Tensor, "*batch answer"]:
        """Return one logit an answer: positive where the model says it."""

    @abstractmethod
    def loss(
        self, outputs: Float[Tensor, "position output"], targets: Int[Tensor, " position"]
    ) -> Float[Tensor, ""]:
        """Return the loss summed over positions; a target is a row of `answer_sets`."""

    def is_right(
        self, outputs: Float[Tensor, "*batch output"], wanted: Bool[Tensor, "*batch answer"]
    ) -> Bool[Tensor, "*batch"]:
        """Return where the model says what is wanted: the whole set, and no more."""
        return ((self.logits(outputs) > 0) == wanted).all(-1)


READOUTS: Registry[type[SetReadout]] = Registry("loss", "losses")
"""Name of the loss -> readout of a language."""


def build_readout(
    name: str, vocabulary: Vocabulary, answer_sets: Bool[Tensor, "set answer"]
) -> SetReadout:
    """Return the readout that trains with the loss called `name`."""
    return READOUTS.get(name)(vocabulary, answer_sets)


@final
@READOUTS.register("symbols")
class SymbolReadout(SetReadout):
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


class ClassReadout(SetReadout):
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


@final
class ChoiceReadout(SetReadout):
    """One output an answer, of which the largest is the model's: right if it is in the set.

    The loss is the cross-entropy with all answers of the set, each as likely: where there is one,
    the usual one; where several are right, the mean of what each would cost.
    """

    @property
    def num_outputs(self) -> int:
        return self.answer_sets.shape[1]

    def logits(self, outputs: Float[Tensor, "*batch output"]) -> Float[Tensor, "*batch answer"]:
        largest = outputs.topk(2).values
        first, second = largest[..., :1], largest[..., 1:]
        return outputs - torch.where(outputs == first, second, first)

    def loss(
        self, outputs: Float[Tensor, "position output"], targets: Int[Tensor, " position"]
    ) -> Float[Tensor, ""]:
        wanted = self.answer_sets[targets].to(outputs.dtype)
        return cross_entropy(outputs, wanted / wanted.sum(-1, keepdim=True), reduction="sum")

    def is_right(
        self, outputs: Float[Tensor, "*batch output"], wanted: Bool[Tensor, "*batch answer"]
    ) -> Bool[Tensor, "*batch"]:
        return wanted.gather(-1, outputs.argmax(-1, keepdim=True))[..., 0]


@final
class ValueReadout(Readout):
    """One output, the number that the model estimates; the loss is the squared error."""

    @property
    def num_outputs(self) -> int:
        return 1

    def loss(
        self, outputs: Float[Tensor, "position 1"], targets: Float[Tensor, " position"]
    ) -> Float[Tensor, ""]:
        return (outputs[:, 0] - targets).square().sum()
