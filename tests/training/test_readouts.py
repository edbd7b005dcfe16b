"""What the outputs of a model mean, and what they cost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from statespan.training import (
    READOUTS,
    ChoiceReadout,
    SetReadout,
    ValueReadout,
    Vocabulary,
    build_readout,
)

VOCABULARY = Vocabulary(("a", "b"))
SETS = torch.tensor([[True, False, True], [False, True, False], [True, True, False]])
every_loss = pytest.mark.parametrize("name", ["symbols", "class-mse", "class-cross-entropy"])


def make(name: str) -> SetReadout:
    return build_readout(name, VOCABULARY, SETS)


def test_every_registered_loss_is_checked_here() -> None:
    assert set(READOUTS.names()) == {"symbols", "class-mse", "class-cross-entropy"}


@every_loss
def test_descending_the_loss_leads_to_the_right_sets(name: str) -> None:
    readout = make(name)
    targets = torch.tensor([0, 1, 2, 1])
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(4, readout.num_outputs, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([outputs], lr=0.1)
    first = readout.loss(outputs, targets).item()
    for _ in range(200):
        loss = readout.loss(outputs, targets)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert loss.item() < first / 10
    assert torch.equal(readout.logits(outputs) > 0, SETS[targets])


@every_loss
def test_a_loss_is_a_sum_over_positions(name: str) -> None:
    readout = make(name)
    outputs = torch.randn(5, readout.num_outputs, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([0, 1, 2, 2, 0])
    parts = [readout.loss(outputs[i : i + 1], targets[i : i + 1]) for i in range(5)]
    torch.testing.assert_close(readout.loss(outputs, targets), torch.stack(parts).sum())


@pytest.mark.parametrize("name", ["class-mse", "class-cross-entropy"])
def test_class_logits_are_positive_exactly_for_the_largest_class(name: str) -> None:
    readout = make(name)
    assert readout.num_outputs == len(SETS)
    outputs = torch.randn(1_000, len(SETS), generator=torch.Generator().manual_seed(2))
    assert torch.equal(readout.logits(outputs) > 0, SETS[outputs.argmax(-1)])


def test_symbol_logits_are_the_outputs_of_the_symbols_then_of_eos() -> None:
    outputs: Tensor = torch.arange(5.0)[None]
    assert make("symbols").logits(outputs).tolist() == [[3.0, 4.0, 1.0]]
    assert make("symbols").num_outputs == VOCABULARY.size


def test_losses_have_the_values_of_their_formulas() -> None:
    targets = torch.tensor([2])
    assert make("symbols").loss(torch.zeros(1, 5), targets).item() == pytest.approx(0.693147)
    assert make("class-mse").loss(torch.zeros(1, 3), targets).item() == pytest.approx(1 / 3)
    assert make("class-cross-entropy").loss(torch.zeros(1, 3), targets).item() == pytest.approx(
        1.098612
    )


def test_a_choice_is_right_if_it_is_among_the_answers() -> None:
    readout = ChoiceReadout(VOCABULARY, SETS)
    outputs = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [0.0, 1.0, -1.0]])
    assert readout.num_outputs == 3
    assert readout.is_right(outputs, SETS).tolist() == [True, False, True]
    assert (readout.logits(outputs) > 0).tolist() == [
        [True, False, False],
        [True, False, False],
        [False, True, False],
    ]


def test_the_loss_of_a_choice_is_the_mean_of_what_its_answers_would_cost() -> None:
    readout = ChoiceReadout(VOCABULARY, SETS)
    outputs = torch.randn(3, 3, generator=torch.Generator().manual_seed(3))
    costs = -outputs.log_softmax(-1)
    expected = (costs[0, 0] + costs[0, 2]) / 2 + costs[1, 1] + (costs[2, 0] + costs[2, 1]) / 2
    torch.testing.assert_close(readout.loss(outputs, torch.tensor([0, 1, 2])), expected)


def test_the_loss_of_a_value_is_its_squared_error() -> None:
    outputs, targets = torch.tensor([[1.0], [2.0]]), torch.tensor([0.5, 4.0])
    assert ValueReadout().loss(outputs, targets).item() == 0.25 + 4
