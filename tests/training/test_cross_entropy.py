"""The loss in pieces is that of `labels=`, and its gradients are; logits never exist as a whole."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from statespan.adapters import adapt, hylora
from statespan.errors import ConfigError
from statespan.training.cross_entropy import check_chunked_loss, chunked_cross_entropy

sys.path.insert(0, str(Path(__file__).parents[1] / "pretrained"))
from tiny_models import SPAN_FAMILIES, tiny_model, tokens

SCALED = ("falcon_h1", "granitemoehybrid", "bamba", "llama/tied")


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }


def compare(model: Any, *, piece: int | None) -> None:
    ids = tokens(2, 19)
    labels = ids.clone()
    labels[0, :4] = labels[1, 9] = -100
    whole = model(input_ids=ids, labels=labels, use_cache=False).loss
    wanted = gradients(model, whole)
    count = int((labels[:, 1:] != -100).sum())
    loss = chunked_cross_entropy(model, ids, labels, piece=piece) / count
    torch.testing.assert_close(loss, whole, rtol=1e-5, atol=1e-6)
    found = gradients(model, loss)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5 * scale + 1e-9)


@pytest.mark.parametrize("family", SCALED)
def test_pieces_have_the_loss_and_the_gradients_of_the_whole(family: str) -> None:
    compare(tiny_model(family), piece=4)


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in SPAN_FAMILIES if name not in SCALED])
def test_pieces_have_the_loss_of_the_whole_in_every_family(family: str) -> None:
    compare(tiny_model(family), piece=4)


@pytest.mark.parametrize("piece", [1, 7, 18, 100, None])
def test_any_piece_will_do(piece: int | None) -> None:
    compare(tiny_model("llama"), piece=piece)


def test_adapters_learn_as_they_do_with_labels() -> None:
    model = tiny_model("bamba")
    compare(adapt(model, hylora(model, rank=2, alpha=4)), piece=5)


class LargestTensor(TorchDispatchMode):
    """Counts the numbers of the largest tensor whose last axis is the vocabulary."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary, self.largest = vocabulary, 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = operation(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.ndim > 1 and made.shape[-1] == self.vocabulary:
            self.largest = max(self.largest, made[..., 0].numel())
        return made


def test_never_more_logits_exist_than_those_of_a_piece() -> None:
    model, ids = tiny_model("llama", vocab_size=41), tokens(1, 128)
    with LargestTensor(41) as found:
        chunked_cross_entropy(model, ids, ids, piece=40).backward()
    assert found.largest == 40
    with LargestTensor(41) as found:
        model(input_ids=ids, labels=ids).loss.backward()
    assert found.largest >= 127


def test_a_loss_for_routers_is_refused() -> None:
    model = tiny_model("jamba")
    check_chunked_loss(model)
    model.config.output_router_logits = True
    with pytest.raises(ConfigError, match="output_router_logits"):
        check_chunked_loss(model)
