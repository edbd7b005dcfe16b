"""Training an extended model: checkpoints run again as they ran, and steps draw chunk sizes."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from statespan.errors import InputError
from statespan.memory import SpanAttention
from statespan.pretrained import attention_setting, disable, enable
from tests.pretrained.span.span_models import (
    EVERY,
    LENGTH,
    assert_different,
    assert_same,
    logits,
    span,
    span_model,
    tokens,
)

DRAWN: dict[str, Any] = {"chunk": (8, 16, 24, 32), "selection": "chunk"}


def train_step(model: Any, ids: Tensor, **arguments: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss and the gradients of one step, of which no weight is changed."""
    model.zero_grad(set_to_none=True)
    output = model(ids, labels=ids, **arguments)
    output.loss.backward()
    gradients = {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }
    return output.logits.detach(), gradients


@pytest.mark.parametrize("family", EVERY)
def test_layers_that_are_run_again_see_what_they_saw(family: str) -> None:
    model, ids = span_model(family).train(), tokens(length=LENGTH)
    enable(model, span(family, **DRAWN))
    train_step(model, ids)
    outputs, gradients = train_step(model, ids)
    model.activation_checkpointing_enable()
    enable(model, span(family, **DRAWN), step=1)
    again, gradients_again = train_step(model, ids)
    assert torch.equal(again, outputs)
    assert gradients.keys() == gradients_again.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_again[name], gradient, msg=name)


@pytest.mark.parametrize("reentrant", [True, False])
def test_later_steps_do_not_change_what_is_run_again(reentrant: bool) -> None:
    """The backward pass of a step may come after the forward pass of another."""
    model, ids = span_model("llama").train(), tokens(length=LENGTH)
    enable(model, span(**DRAWN))
    expected = [train_step(model, ids)[1] for _ in range(4)]
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    enable(model, span(**DRAWN))
    losses = [model(ids, labels=ids).loss for _ in range(4)]
    for loss, gradients in zip(losses, expected, strict=True):
        model.zero_grad()
        loss.backward()
        for name, weight in model.named_parameters():
            torch.testing.assert_close(weight.grad, gradients[name])


def test_each_step_draws_anew_and_the_same_again() -> None:
    model, ids = span_model("bamba").train(), tokens(length=LENGTH)
    config = span(**DRAWN)
    enable(model, config)
    steps = [train_step(model, ids)[0] for _ in range(6)]
    enable(model, config, step=2)
    assert torch.equal(train_step(model, ids)[0], steps[2])
    sizes = [config.chunk_size(step=step, layer=1) for step in range(6)]
    assert len(set(sizes)) > 2
    for step, size in enumerate(sizes):
        enable(model, span(chunk=size, selection="chunk"))
        assert_same(train_step(model, ids)[0], steps[step])
        assert_different(steps[step], steps[sizes.index(next(s for s in sizes if s != size))])


def test_evaluation_is_no_step() -> None:
    model, ids = span_model("llama"), tokens(length=LENGTH)
    enable(model, span(**DRAWN))
    before = logits(model, ids)
    model(ids)
    with torch.no_grad():
        model.train()(ids)
    assert not attention_setting(model).trained
    first = train_step(model, ids)[0]
    assert attention_setting(model).steps == 1
    train_step(model, ids)
    assert attention_setting(model).steps == 2
    assert torch.equal(logits(model.eval(), ids), before)
    assert torch.equal(first, before)  # evaluation draws as step 0 does


def test_a_training_step_leaves_no_cache_unless_asked() -> None:
    model, ids = span_model("qwen3_next").train(), tokens(length=LENGTH)
    config = span(chunk=(8, 16, 24, 32))
    enable(model, config)
    assert model(ids).past_key_values is None
    outputs, gradients = train_step(model, ids)
    enable(model, config, step=1)
    output = model(ids, use_cache=True)
    assert output.past_key_values.get_seq_length() == LENGTH
    enable(model, config, step=1)
    cached, cached_gradients = train_step(model, ids, use_cache=True)
    assert torch.equal(cached, outputs)
    for name, gradient in gradients.items():
        torch.testing.assert_close(cached_gradients[name], gradient)


def adapters(model: Any) -> Any:
    import peft

    config = peft.LoraConfig(
        r=4, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"], init_lora_weights=False
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.random.manual_seed(1)
        return peft.get_peft_model(model, config)


@pytest.mark.parametrize("family", ["bamba", "llama", "zamba2", "lfm3"])
@pytest.mark.parametrize("adapters_first", [True, False])
def test_adapters_learn_and_generate(family: str, adapters_first: bool) -> None:
    model, ids = span_model(family), tokens(length=LENGTH)
    config = span(family)
    if not adapters_first:
        enable(model, config)
    model = adapters(model)
    if adapters_first:
        enable(model, config)
    extended, gradients = train_step(model.train(), ids)
    assert any("lora" in name for name in gradients)
    assert any(gradient.abs().max() > 0 for gradient in gradients.values())
    assert attention_setting(model).trained_with == config
    model.eval()
    made = model.generate(ids, max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert made.shape == (2, LENGTH + 4)
    disable(model)
    assert_different(logits(model, ids), extended)


def test_dropout_is_refused() -> None:
    model, ids = span_model("llama", attention_dropout=0.1), tokens()
    enable(model, span())
    model(ids)
    with pytest.raises(InputError, match=r"attention dropout must be 0 .* got 0.1"):
        model.train()(ids)


@pytest.mark.parametrize("family", ["llama", "bamba", "falcon_h1", "bailing_hybrid"])
def test_under_autocast_dtypes_are_made_one_as_in_the_stock_attention(family: str) -> None:
    model, ids = span_model(family).train(), tokens(length=LENGTH)
    enable(model, SpanAttention(chunk=16, block=8, rule="all", summary="key"))
    with torch.autocast("cpu", torch.bfloat16):
        spanned = model(ids, use_cache=False).logits
        spanned.float().sum().backward()
        disable(model)
        stock = model(ids, use_cache=False).logits
    assert spanned.dtype == stock.dtype
    assert (spanned - stock).abs().max() < 0.1 * stock.float().std()


@pytest.mark.parametrize("stock", ["sdpa", "eager"])
def test_a_pass_is_not_run_again_by_another_attention(stock: str) -> None:
    model, ids = span_model("llama").train(), tokens(length=LENGTH)
    model.set_attn_implementation(stock)
    model.activation_checkpointing_enable()
    enable(model, span(**DRAWN))
    loss = model(ids, labels=ids).loss
    disable(model)
    with pytest.raises(InputError, match=r"call backward before statespan.disable"):
        loss.backward()
